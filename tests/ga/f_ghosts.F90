! SPDX-License-Identifier: BSD-3-Clause
! Ghost cells from Fortran, by the ways of updating them that Global Arrays has. Two ways are broken in its release
! 5.8.2, whatever ARMCI library is below: 3 leaves stale corners even on one rank, 5 writes beyond its memory. Way 6
! takes the length of a wrong neighbour on the same node, so it gets blocks of one length.
program f_ghosts
   use check
   implicit none
   integer, parameter :: rounds = 4, even = 6
   integer, parameter :: ways(6) = (/1, 2, 4, 6, 7, 8/)
   integer :: way

   call begin_mpi()
   do way = 1, size(ways)
      call do_way(ways(way), 1, 1)
      call do_way(ways(way), 2, 1)
   end do
   call end_mpi()

contains

   subroutine update(g_a, by)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: g_a, by
      logical :: done

      done = .true.
      select case (by)
      case (1); call ga_update1_ghosts(g_a)
      case (2); done = ga_update2_ghosts(g_a)
      case (4)
         done = ga_set_update4_info(g_a)
         if (done) done = ga_update4_ghosts(g_a)
      case (6); done = ga_update6_ghosts(g_a)
      case (7); done = ga_update7_ghosts(g_a)
      case default; call ga_update_ghosts(g_a)
      end select
      call require(done, 'an update of ghosts refuses')
      call ga_sync()
   end subroutine update

   ! Round after round with other values, so that what is stale shows.
   subroutine do_way(by, width1, width2)
#include "mafdecls.fh"
#include "global.fh"
      integer, intent(in) :: by, width1, width2
      integer :: rows, columns, g_a, dims(2), widths(2), chunk(2), lo(2), hi(2), around(2), ld(1), round, i, j
      double precision, allocatable :: buffer(:, :)
      double precision :: got
      GA_ACCESS_INDEX_TYPE :: index
      character(40) :: what

      write (what, '(a,i0)') 'ghosts by way ', by
      rows = 33
      columns = 28
      if (by == even) then
         rows = 5*ranks
         columns = 4*ranks
      end if
      allocate (buffer(rows, columns))
      dims = (/rows, columns/)
      widths = (/width1, width2/)
      chunk = -1
      call require(nga_create_ghosts(MT_DBL, 2, dims, widths, 'ghosts', chunk, g_a), 'nga_create_ghosts fails')
      do round = 1, rounds
         do j = 1, columns
            do i = 1, rows
               buffer(i, j) = value_at(round*10 + by, i, j)
            end do
         end do
         do j = 1 + rank, columns, ranks
            lo = (/1, j/)
            hi = (/rows, j/)
            ld = rows
            call nga_put(g_a, lo, hi, buffer(1, j), ld)
         end do
         call ga_sync()
         call update(g_a, by)
         call nga_distribution(g_a, rank, lo, hi)
         if (lo(1) > 0 .and. hi(1) >= lo(1) .and. hi(2) >= lo(2)) then
            call nga_access_ghosts(g_a, around, index, ld)
            do j = lo(2) - width2, hi(2) + width2
               do i = lo(1) - width1, hi(1) + width1
                  got = dbl_mb(index + (j - lo(2) + width2)*ld(1) + i - lo(1) + width1)
                  call expect(got, buffer(1 + modulo(i - 1, rows), 1 + modulo(j - 1, columns)), trim(what), i, j)
               end do
            end do
            call nga_release_ghosts(g_a)
         end if
         call ga_sync()
      end do
      call require(ga_destroy(g_a), 'ga_destroy fails')
   end subroutine do_way
end program f_ghosts
