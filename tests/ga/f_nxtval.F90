! SPDX-License-Identifier: BSD-3-Clause
! Counters from Fortran: TCGMSG's nxtval, as NWChem shares out its tasks, and ga_read_inc, reset by plain stores.
program f_nxtval
   use check
   implicit none
   integer, parameter :: tasks = 300, rounds = 12
   external pbeginf, pend

   call pbeginf()
   call begin()
   call do_nxtval()
   call do_read_inc()
   call do_mixed()
   call ga_sync()
   call ga_terminate()
   if (rank == 0) print '(a)', 'ok'
   call pend()

contains

   ! Each task falls to one rank; what was done adds up in a global array.
   subroutine do_nxtval()
#include "mafdecls.fh"
#include "global.fh"
      integer :: nxtval, round, next, task, last, dims(1), chunk(1), g_done, done(tasks), one(1)
      external nxtval

      dims = tasks
      chunk = -1
      one = 1
      call require(nga_create(MT_INT, 1, dims, 'done', chunk, g_done), 'nga_create fails')
      call ga_zero(g_done)
      do round = 1, rounds
         last = -1
         next = nxtval(ranks)
         do task = 0, tasks - 1
            if (task /= next) cycle
            call require(next > last, 'nxtval goes back')
            last = next
            call nga_acc(g_done, (/task + 1/), (/task + 1/), one, one, 1)
            next = nxtval(ranks)
         end do
         ! All are done; the counter goes back to zero.
         task = nxtval(-ranks)
         call ga_sync()
         call nga_get(g_done, (/1/), (/tasks/), done, (/tasks/))
         do task = 1, tasks
            call expect(dble(done(task)), dble(round), 'tasks done', task, round)
         end do
         call ga_sync()
      end do
      call require(ga_destroy(g_done), 'ga_destroy fails')
   end subroutine do_nxtval

   ! The owner puts the counter back with a plain store, between syncs.
   subroutine do_read_inc()
#include "mafdecls.fh"
#include "global.fh"
      integer :: g_n, round, i, ticket, owner, ld, drawn(tasks)
      GA_ACCESS_INDEX_TYPE :: index

      call require(ga_create(MT_INT, 1, 1, 'counter', 1, 1, g_n), 'ga_create fails')
      call ga_zero(g_n)
      call require(ga_locate(g_n, 1, 1, owner), 'ga_locate fails')
      do round = 1, rounds
         drawn = 0
         do
            ticket = ga_read_inc(g_n, 1, 1, 1)
            if (ticket >= tasks) exit
            drawn(ticket + 1) = drawn(ticket + 1) + 1
         end do
         call ga_igop(round, drawn, tasks, '+')
         do i = 1, tasks
            call expect(dble(drawn(i)), 1d0, 'tickets drawn', i, round)
         end do
         call ga_sync()
         if (owner == rank) then
            call ga_access(g_n, 1, 1, 1, 1, index, ld)
            call expect(dble(int_mb(index)), dble(tasks + ranks), 'the counter', 1, round)
            int_mb(index) = 0
            call ga_release_update(g_n, 1, 1, 1, 1)
         end if
         call ga_sync()
      end do
      call require(ga_destroy(g_n), 'ga_destroy fails')
   end subroutine do_read_inc

   ! Both counters at once, with sums of doubles between, as in a Fock build.
   subroutine do_mixed()
#include "mafdecls.fh"
#include "global.fh"
      integer, parameter :: size = 20
      integer :: nxtval, g_f, g_n, next, i, j, ticket
      double precision :: part(size, size), total(size, size), drawn(2)
      external nxtval

      call require(ga_create(MT_DBL, size, size, 'fock', -1, -1, g_f), 'ga_create fails')
      call require(ga_create(MT_INT, ranks, 1, 'counters', 1, 1, g_n), 'ga_create fails')
      call ga_zero(g_f)
      call ga_zero(g_n)
      drawn = 0
      next = nxtval(ranks)
      do while (next < tasks)
         do j = 1, size
            do i = 1, size
               part(i, j) = value_at(next, i, j)
            end do
         end do
         call ga_acc(g_f, 1, size, 1, size, part, size, 1d0)
         ticket = ga_read_inc(g_n, 1 + mod(next, ranks), 1, 2)
         drawn(1) = drawn(1) + 1
         drawn(2) = drawn(2) + next
         next = nxtval(ranks)
      end do
      next = nxtval(-ranks)
      call ga_dgop(1, drawn, 2, '+')
      call expect(drawn(1), dble(tasks), 'tasks drawn', 1, 1)
      call expect(drawn(2), tasks*(tasks - 1)/2d0, 'sum of the tasks', 1, 1)
      call ga_sync()
      call ga_get(g_f, 1, size, 1, size, part, size)
      total = 0
      do next = 0, tasks - 1
         do j = 1, size
            do i = 1, size
               total(i, j) = total(i, j) + value_at(next, i, j)
            end do
         end do
      end do
      do j = 1, size
         do i = 1, size
            call expect(part(i, j), total(i, j), 'the sum of all tasks', i, j)
         end do
      end do
      do i = 1, ranks
         ticket = ga_read_inc(g_n, i, 1, 0)
         call expect(dble(ticket), 2d0*((tasks - i)/ranks + 1), 'a counter of each rank', i, 1)
      end do
      call ga_sync()
      call require(ga_destroy(g_f) .and. ga_destroy(g_n), 'ga_destroy fails')
   end subroutine do_mixed
end program f_nxtval
