! SPDX-License-Identifier: BSD-3-Clause
! Matrix multiplication, transposition, sums, scaling and dot products from Fortran, against serial ones.
program f_matmul
   use check
   implicit none
   integer, parameter :: m = 33, n = 28, k = 39
   double precision :: a(m, k), b(k, n), c(m, n)

   call begin_mpi()
   call do_multiply('n', 'n')
   call do_multiply('t', 'n')
   call do_multiply('n', 't')
   call do_multiply('t', 't')
   call do_patch()
   call do_whole_arrays()
   call end_mpi()

contains

   ! A distributed matrix with the values of the tag; each rank fills its own block.
   subroutine make(tag, rows, columns, g_a)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: tag, rows, columns
      integer, intent(out) :: g_a
      integer :: i, j, ilo, ihi, jlo, jhi, ld
      GA_ACCESS_INDEX_TYPE :: index

      call require(ga_create(MT_DBL, rows, columns, 'matrix', -1, -1, g_a), 'ga_create of a matrix fails')
      call ga_distribution(g_a, rank, ilo, ihi, jlo, jhi)
      if (ilo > 0 .and. ihi >= ilo .and. jhi >= jlo) then
         call ga_access(g_a, ilo, ihi, jlo, jhi, index, ld)
         do j = jlo, jhi
            do i = ilo, ihi
               dbl_mb(index + (j - jlo)*ld + i - ilo) = value_at(tag, i, j)
            end do
         end do
         call ga_release_update(g_a, ilo, ihi, jlo, jhi)
      end if
      call ga_sync()
   end subroutine make

   subroutine compare(g_a, rows, columns, wanted, what)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: g_a, rows, columns
      double precision, intent(in) :: wanted(rows, columns)
      character(*), intent(in) :: what
      double precision :: got(rows, columns)
      integer :: i, j

      call ga_get(g_a, 1, rows, 1, columns, got, rows)
      do j = 1, columns
         do i = 1, rows
            call expect(got(i, j), wanted(i, j), what, i, j)
         end do
      end do
      call ga_sync()
   end subroutine compare

   subroutine values(tag, rows, columns, matrix)
      integer, intent(in) :: tag, rows, columns
      double precision, intent(out) :: matrix(rows, columns)
      integer :: i, j

      do j = 1, columns
         do i = 1, rows
            matrix(i, j) = value_at(tag, i, j)
         end do
      end do
   end subroutine values

   subroutine do_multiply(ta, tb)
#include "mafdecls.fh"
#include "global.fh"
      character, intent(in) :: ta, tb
      double precision :: at(k, m), bt(n, k)
      integer :: g_a, g_b, g_c

      if (ta == 't') then
         call make(1, k, m, g_a)
         call values(1, k, m, at)
         a = transpose(at)
      else
         call make(1, m, k, g_a)
         call values(1, m, k, a)
      end if
      if (tb == 't') then
         call make(2, n, k, g_b)
         call values(2, n, k, bt)
         b = transpose(bt)
      else
         call make(2, k, n, g_b)
         call values(2, k, n, b)
      end if
      call make(3, m, n, g_c)
      call values(3, m, n, c)
      call ga_dgemm(ta, tb, m, n, k, 2d0, g_a, g_b, -5d0, g_c)
      c = 2d0*matmul(a, b) - 5d0*c
      call compare(g_c, m, n, c, 'ga_dgemm '//ta//tb)
      call require(ga_destroy(g_a) .and. ga_destroy(g_b) .and. ga_destroy(g_c), 'ga_destroy fails')
   end subroutine do_multiply

   subroutine do_patch()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, g_b, g_c

      call make(1, m, k, g_a)
      call make(2, k, n, g_b)
      call make(3, m, n, g_c)
      call values(1, m, k, a)
      call values(2, k, n, b)
      call values(3, m, n, c)
      call ga_matmul_patch('n', 'n', 3d0, 2d0, g_a, 4, 20, 6, 30, g_b, 9, 33, 2, 12, g_c, 11, 27, 15, 25)
      c(11:27, 15:25) = 3d0*matmul(a(4:20, 6:30), b(9:33, 2:12)) + 2d0*c(11:27, 15:25)
      call compare(g_c, m, n, c, 'ga_matmul_patch')
      call require(ga_destroy(g_a) .and. ga_destroy(g_b) .and. ga_destroy(g_c), 'ga_destroy fails')
   end subroutine do_patch

   subroutine do_whole_arrays()
#include "mafdecls.fh"
#include "global.fh"
      double precision :: x(m, m), y(m, m), dot
      integer :: g_x, g_y, g_z, i

      call make(4, m, m, g_x)
      call make(5, m, m, g_y)
      call values(4, m, m, x)
      call values(5, m, m, y)
      call require(ga_duplicate(g_x, g_z, 'third'), 'ga_duplicate fails')
      call ga_transpose(g_x, g_z)
      call compare(g_z, m, m, transpose(x), 'ga_transpose')
      call ga_add(2d0, g_x, -3d0, g_y, g_z)
      call compare(g_z, m, m, 2d0*x - 3d0*y, 'ga_add')
      call ga_scale(g_z, 4d0)
      call compare(g_z, m, m, 8d0*x - 12d0*y, 'ga_scale')
      dot = ga_ddot(g_x, g_y)
      call expect(dot, sum(x*y), 'ga_ddot', 1, 1)
      call ga_copy_patch('n', g_x, 3, 12, 5, 20, g_y, 7, 16, 9, 24)
      y(7:16, 9:24) = x(3:12, 5:20)
      call compare(g_y, m, m, y, 'ga_copy_patch')
      call ga_symmetrize(g_x)
      call compare(g_x, m, m, 0.5d0*(x + transpose(x)), 'ga_symmetrize')
      call ga_zero(g_z)
      call ga_fill_patch(g_z, 2, 9, 3, m, 7d0)
      x = 0d0
      x(2:9, 3:m) = 7d0
      call compare(g_z, m, m, x, 'ga_fill_patch')
      i = 0
      if (ga_destroy(g_x)) i = i + 1
      if (ga_destroy(g_y)) i = i + 1
      if (ga_destroy(g_z)) i = i + 1
      call require(i == 3, 'ga_destroy fails')
   end subroutine do_whole_arrays
end program f_matmul
