! SPDX-License-Identifier: BSD-3-Clause
! Put, get, accumulate and plain access from Fortran, of every type, with parts of larger local arrays.
program f_patch
   use check
   implicit none
   integer, parameter :: rows = 31, columns = 26, accs = 6

   call begin_mpi()
   call do_double()
   call do_integer()
   call do_real()
   call do_complex()
   call do_three()
   call end_mpi()

contains

   ! Columns in turn go out from the middle of a larger array; then all is fetched.
   subroutine do_double()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, i, j, r, k, ilo, ihi, jlo, jhi
      double precision :: buffer(rows + 5, columns + 3), wanted(rows, columns), alpha
      GA_ACCESS_INDEX_TYPE :: index
      integer :: ld

      call require(ga_create(MT_DBL, rows, columns, 'double', -1, -1, g_a), 'ga_create of doubles fails')
      buffer = -1d6
      do j = 1, columns
         do i = 1, rows
            wanted(i, j) = value_at(1, i, j)
            buffer(i + 2, j + 1) = wanted(i, j)
         end do
         if (mod(j, ranks) == rank) call ga_put(g_a, 1, rows, j, j, buffer(3, j + 1), rows + 5)
      end do
      call ga_sync()
      do r = 0, ranks - 1
         do k = 1, accs
            ilo = 1 + mod(r*5 + k*3, rows)
            ihi = min(rows, ilo + mod(r + k*7, 20))
            jlo = 1 + mod(r*11 + k, columns)
            jhi = min(columns, jlo + mod(r*3 + k*5, 15))
            alpha = r - 2*k
            do j = jlo, jhi
               do i = ilo, ihi
                  wanted(i, j) = wanted(i, j) + alpha*value_at(1, i, j)
               end do
            end do
            if (r == rank) call ga_acc(g_a, ilo, ihi, jlo, jhi, buffer(ilo + 2, jlo + 1), rows + 5, alpha)
         end do
      end do
      call ga_sync()
      buffer = -1d6
      call ga_get(g_a, 1, rows, 1, columns, buffer(3, 2), rows + 5)
      do j = 1, columns + 3
         do i = 1, rows + 5
            if (i > 2 .and. i <= rows + 2 .and. j > 1 .and. j <= columns + 1) then
               call expect(buffer(i, j), wanted(i - 2, j - 1), 'doubles', i - 2, j - 1)
            else
               call expect(buffer(i, j), -1d6, 'around what was fetched', i, j)
            end if
         end do
      end do
      call ga_sync()
      ! The own block as plain memory.
      call ga_distribution(g_a, rank, ilo, ihi, jlo, jhi)
      if (ilo > 0 .and. ihi >= ilo .and. jhi >= jlo) then
         call ga_access(g_a, ilo, ihi, jlo, jhi, index, ld)
         do j = jlo, jhi
            do i = ilo, ihi
               call expect(dbl_mb(index + (j - jlo)*ld + i - ilo), wanted(i, j), 'the own block', i, j)
               dbl_mb(index + (j - jlo)*ld + i - ilo) = value_at(9, i, j)
            end do
         end do
         call ga_release_update(g_a, ilo, ihi, jlo, jhi)
      end if
      call ga_sync()
      call ga_get(g_a, 1, rows, 1, columns, buffer, rows + 5)
      do j = 1, columns
         do i = 1, rows
            call expect(buffer(i, j), dble(value_at(9, i, j)), 'after plain stores', i, j)
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_double

   subroutine do_integer()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, i, j, buffer(rows, columns)

      call require(ga_create(MT_INT, rows, columns, 'integer', -1, -1, g_a), 'ga_create of integers fails')
      do j = 1, columns
         do i = 1, rows
            buffer(i, j) = value_at(2, i, j)
         end do
      end do
      do i = 1 + rank, rows, ranks
         call ga_put(g_a, i, i, 1, columns, buffer(i, 1), rows)
      end do
      call ga_sync()
      call ga_acc(g_a, 2, rows - 1, 3, columns, buffer(2, 3), rows, rank + 1)
      call ga_sync()
      buffer = 0
      call ga_get(g_a, 1, rows, 1, columns, buffer, rows)
      do j = 1, columns
         do i = 1, rows
            if (i > 1 .and. i < rows .and. j > 2) then
               call expect(dble(buffer(i, j)), dble(value_at(2, i, j)*(1 + ranks*(ranks + 1)/2)), 'integers', i, j)
            else
               call expect(dble(buffer(i, j)), dble(value_at(2, i, j)), 'integers', i, j)
            end if
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_integer

   subroutine do_real()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, i, j
      real :: buffer(rows, columns), alpha

      call require(ga_create(MT_REAL, rows, columns, 'real', -1, -1, g_a), 'ga_create of reals fails')
      do j = 1, columns
         do i = 1, rows
            buffer(i, j) = real(value_at(3, i, j))
         end do
      end do
      call ga_zero(g_a)
      alpha = 0.5
      call ga_acc(g_a, 1, rows, 1, columns, buffer, rows, alpha)
      call ga_sync()
      call ga_get(g_a, 1, rows, 1, columns, buffer, rows)
      do j = 1, columns
         do i = 1, rows
            call expect(dble(buffer(i, j)), 0.5d0*ranks*value_at(3, i, j), 'reals', i, j)
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_real

   subroutine do_complex()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_a, i, j, ilo, ihi, jlo, jhi, ld
      double complex :: buffer(rows, columns), alpha, wanted
      GA_ACCESS_INDEX_TYPE :: index

      call require(ga_create(MT_DCPL, rows, columns, 'complex', -1, -1, g_a), 'ga_create of complex numbers fails')
      call ga_distribution(g_a, rank, ilo, ihi, jlo, jhi)
      if (ilo > 0 .and. ihi >= ilo .and. jhi >= jlo) then
         call ga_access(g_a, ilo, ihi, jlo, jhi, index, ld)
         do j = jlo, jhi
            do i = ilo, ihi
               dcpl_mb(index + (j - jlo)*ld + i - ilo) = dcmplx(value_at(5, i, j), value_at(6, i, j))
            end do
         end do
         call ga_release_update(g_a, ilo, ihi, jlo, jhi)
      end if
      call ga_sync()
      do j = 1, columns
         do i = 1, rows
            buffer(i, j) = dcmplx(value_at(4, i, j), -value_at(7, i, j))
         end do
      end do
      alpha = (2d0, -3d0)
      call ga_acc(g_a, 1, rows, 1, columns, buffer, rows, alpha)
      call ga_sync()
      call ga_get(g_a, 1, rows, 1, columns, buffer, rows)
      do j = 1, columns
         do i = 1, rows
            wanted = dcmplx(value_at(5, i, j), value_at(6, i, j)) &
                     + ranks*alpha*dcmplx(value_at(4, i, j), -value_at(7, i, j))
            call expect(dble(buffer(i, j)), dble(wanted), 'real parts', i, j)
            call expect(dimag(buffer(i, j)), dimag(wanted), 'imaginary parts', i, j)
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_complex

   subroutine do_three()
#include "mafdecls.fh"
#include "global.fh"
      integer, parameter :: n1 = 11, n2 = 9, n3 = 13
      integer :: g_a, i, j, k, dims(3), chunk(3), lo(3), hi(3), ld(2), handle
      double precision :: buffer(n1, n2, n3), got(n1, n2, n3), wanted, alpha

      dims = (/n1, n2, n3/)
      chunk = -1
      ld = (/n1, n2/)
      call require(nga_create(MT_DBL, 3, dims, 'three', chunk, g_a), 'nga_create fails')
      do k = 1, n3
         do j = 1, n2
            do i = 1, n1
               buffer(i, j, k) = value_at(k, i, j)
            end do
         end do
      end do
      do j = 1 + rank, n2, ranks
         lo = (/1, j, 1/)
         hi = (/n1, j, n3/)
         call nga_put(g_a, lo, hi, buffer(1, j, 1), ld)
      end do
      call ga_sync()
      lo = (/3, 2, 4/)
      hi = (/n1 - 1, n2 - 2, n3 - 1/)
      alpha = 3d0
      call nga_nbacc(g_a, lo, hi, buffer(3, 2, 4), ld, alpha, handle)
      call nga_nbwait(handle)
      call ga_sync()
      lo = 1
      call nga_nbget(g_a, lo, dims, got, ld, handle)
      call nga_nbwait(handle)
      do k = 1, n3
         do j = 1, n2
            do i = 1, n1
               wanted = value_at(k, i, j)
               if (i > 2 .and. i < n1 .and. j > 1 .and. j < n2 - 1 .and. k > 3 .and. k < n3) &
                  wanted = wanted*(1 + 3*ranks)
               call expect(got(i, j, k), wanted, 'three dimensions', i, j)
            end do
         end do
      end do
      call ga_sync()
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_three
end program f_patch
