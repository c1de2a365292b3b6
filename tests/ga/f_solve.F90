! SPDX-License-Identifier: BSD-3-Clause
! Linear equations by ScaLAPACK under Global Arrays: Cholesky, LU plain and transposed, either by itself, and an inverse.
program f_solve
   use check
   implicit none
   integer, parameter :: n = 70, columns = 5
   double precision :: a(n, n), x(n, columns), b(n, columns)

   call begin_mpi()
   call do_llt()
   call do_lu('n')
   call do_lu('t')
   call do_solve(.true.)
   call do_solve(.false.)
   call do_inverse()
   call end_mpi()

contains

   ! Diagonally dominant, so that the solution is good to many digits; symmetric and then definite if wished.
   subroutine equations(symmetric)
      logical, intent(in) :: symmetric
      integer :: i, j

      do j = 1, n
         do i = 1, n
            a(i, j) = value_at(1, i, j)/100d0
            if (symmetric) a(i, j) = value_at(1, min(i, j), max(i, j))/100d0
         end do
         a(j, j) = a(j, j) + 2d0*n
      end do
      do j = 1, columns
         do i = 1, n
            x(i, j) = value_at(2, i, j)
         end do
      end do
   end subroutine equations

   ! Columns in turn, by all ranks.
   subroutine make(matrix, width, g_a)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: width
      double precision, intent(in) :: matrix(n, width)
      integer, intent(out) :: g_a
      integer :: j

      call require(ga_create(MT_DBL, n, width, 'matrix', -1, -1, g_a), 'ga_create of a matrix fails')
      do j = 1 + rank, width, ranks
         call ga_put(g_a, 1, n, j, j, matrix(1, j), n)
      end do
      call ga_sync()
   end subroutine make

   subroutine compare(g_a, width, wanted, what)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: g_a, width
      double precision, intent(in) :: wanted(n, width)
      character(*), intent(in) :: what
      double precision :: got(n, width)
      integer :: i, j

      call ga_get(g_a, 1, n, 1, width, got, n)
      do j = 1, width
         do i = 1, n
            call expect_near(got(i, j), wanted(i, j), what, i, j)
         end do
      end do
      call ga_sync()
   end subroutine compare

   subroutine do_llt()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, g_b, code

      call equations(.true.)
      b = matmul(a, x)
      call make(a, n, g_a)
      call make(b, columns, g_b)
      code = ga_llt_solve(g_a, g_b)
      call require(code == 0, 'ga_llt_solve fails for a definite matrix')
      call compare(g_b, columns, x, 'ga_llt_solve')
      call require(ga_destroy(g_a) .and. ga_destroy(g_b), 'ga_destroy fails')
   end subroutine do_llt

   subroutine do_lu(trans)
#include "mafdecls.fh"
#include "global.fh"
      character, intent(in) :: trans
      integer :: g_a, g_b

      call equations(.false.)
      if (trans == 't') then
         b = matmul(transpose(a), x)
      else
         b = matmul(a, x)
      end if
      call make(a, n, g_a)
      call make(b, columns, g_b)
      call ga_lu_solve(trans, g_a, g_b)
      call compare(g_b, columns, x, 'ga_lu_solve '//trans)
      call require(ga_destroy(g_a) .and. ga_destroy(g_b), 'ga_destroy fails')
   end subroutine do_lu

   ! Cholesky first, and LU if the matrix is not definite: then the code says where it stopped.
   subroutine do_solve(definite)
#include "mafdecls.fh"
#include "global.fh"
      logical, intent(in) :: definite
      integer :: g_a, g_b, code

      call equations(.true.)
      if (.not. definite) a(40, 40) = -2d0*n
      b = matmul(a, x)
      call make(a, n, g_a)
      call make(b, columns, g_b)
      code = ga_solve(g_a, g_b)
      call require((code == 0) .eqv. definite, 'ga_solve misjudges a matrix')
      call compare(g_b, columns, x, 'ga_solve')
      call require(ga_destroy(g_a) .and. ga_destroy(g_b), 'ga_destroy fails')
   end subroutine do_solve

   subroutine do_inverse()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, code, i, j
      double precision :: inverse(n, n), product(n, n), wanted

      call equations(.true.)
      call make(a, n, g_a)
      code = ga_spd_invert(g_a)
      call require(code == 0, 'ga_spd_invert fails for a definite matrix')
      call ga_get(g_a, 1, n, 1, n, inverse, n)
      product = matmul(a, inverse)
      do j = 1, n
         do i = 1, n
            wanted = 0d0
            if (i == j) wanted = 1d0
            call expect_near(product(i, j), wanted, 'ga_spd_invert', i, j)
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_inverse
end program f_solve
