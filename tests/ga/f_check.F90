! SPDX-License-Identifier: BSD-3-Clause
! What the Fortran programs share: start and end, failing with a sentence, values that follow from the indices.
module check
   implicit none
   integer :: rank, ranks

contains

   ! After MPI or TCGMSG has been started.
   subroutine begin()
#include "mafdecls.fh"
#include "global.fh"
      call ga_initialize()
      if (.not. ma_init(MT_DBL, 500000, 500000)) call ga_error('ma_init gives no memory', 1)
      rank = ga_nodeid()
      ranks = ga_nnodes()
   end subroutine begin

   subroutine begin_mpi()
      integer*4 :: code
      external mpi_init

      call mpi_init(code)
      call begin()
   end subroutine begin_mpi

   subroutine end_mpi()
      integer*4 :: code
      external mpi_finalize

      call ga_sync()
      call ga_terminate()
      call mpi_finalize(code)
      if (rank == 0) print '(a)', 'ok'
   end subroutine end_mpi

   ! Say what is wrong and end all ranks.
   subroutine fail(text)
      character(*), intent(in) :: text

      write (0, '(a,i0,a,i0,2a)') 'rank ', rank, ' of ', ranks, ': ', text
      flush (0)
      call ga_error('the data are wrong', 1)
      stop 1
   end subroutine fail

   subroutine require(good, text)
      logical, intent(in) :: good
      character(*), intent(in) :: text

      if (.not. good) call fail(text)
   end subroutine require

   ! A small whole number that belongs at (i,j) of what the tag names.
   pure integer function value_at(tag, i, j) result(value)
      integer, intent(in) :: tag, i, j

      value = mod(i*37 + j*101 + tag*53 + i*j*7 + mod(i*i, 11)*13, 199) - 99
   end function value_at

   subroutine expect(got, wanted, what, i, j)
      double precision, intent(in) :: got, wanted
      character(*), intent(in) :: what
      integer, intent(in) :: i, j
      character(240) :: text

      if (got == wanted) return
      write (text, '(2a,i0,a,i0,a,g0,a,g0)') what, ': element (', i, ',', j, ') is ', got, ' instead of ', wanted
      call fail(trim(text))
   end subroutine expect

   ! As expect(), for results that are rounded.
   subroutine expect_near(got, wanted, what, i, j)
      double precision, intent(in) :: got, wanted
      character(*), intent(in) :: what
      integer, intent(in) :: i, j

      if (.not. abs(got - wanted) <= 1d-8*(1d0 + abs(wanted))) call expect(got, wanted, what, i, j)
   end subroutine expect_near
end module check
