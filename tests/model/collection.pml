/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The store's leases, condemned packs, removals and collections (docs/formats/store.md, src/store/gc.c), as a model for
 * SPIN: two writers, two collectors that run twice each, one who removes checkpoints, and a reader. All of them may die, or be
 * as slow as they like, between any two steps; each step is one operation of the backend.
 *
 * There is one chunk, the one that matters. Each pack that exists holds it, each checkpoint needs it. A pack, a
 * checkpoint, a lease is a bit in a set.
 *
 *   Safe: no checkpoint exists without a pack that has the chunk; and whoever reads a checkpoint under a lease
 *   finds the chunk where it was when the lease began; or, with a writer and a removal beside it (LOOKS_AGAIN), in some
 *   pack, as a pack that came meanwhile may be the chunk's home then.
 *
 * Compiled with -DBROKEN_… a rule is left out, and the checker must find that it was needed (run_spin.sh).
 */

/* Packs: one that is there from the beginning (or not), those of the writers, and the one that a collection writes. */
#define OLD 1
#define OWN(w) (2 << (w))
#define MOVED 8

/* Leases. */
#define WRITES(w) (1 << (w))
#define READS 4
#define COLLECTS(g, turn) (8 << (2 * (g) + (turn)))
#define COLLECTIONS 120

#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef COLLECTORS
#define COLLECTORS 2
#endif
#ifndef TURNS
#define TURNS 2    /* of each collector */
#endif
#ifndef REMOVALS
#define REMOVALS 2
#endif

byte packs, condemned;     /* sets of packs */
byte round[9], waits[9];   /* of a condemned pack: what its mark says; by the pack's bit */
byte manifests, removed;   /* sets of checkpoints; a writer's has the bit 1 << w */
byte removed_waits[3];     /* of a removed one: the leases in its mark, 0: empty; by its bit */
byte leases;

/* The better one of several packs: the first by name. */
#ifdef NAMES_REVERSED
#define FIRST(set) ((set) & 8 -> 8 : ((set) & 4 -> 4 : ((set) & 2 -> 2 : (set) & 1)))
#else
#define FIRST(set) ((set) & 1 -> 1 : ((set) & 2 -> 2 : ((set) & 4 -> 4 : (set) & 8)))
#endif
#define GOOD(ex, co) ((ex) & ~(co))
#define HOME(ex, co) (GOOD(ex, co) != 0 -> FIRST(GOOD(ex, co)) : FIRST(ex))

#define EXIST (manifests & ~removed)

inline safe()
{
	assert(EXIST == 0 || packs != 0)
}

/* index_refresh() */
inline look(ex, co)
{
#ifdef BROKEN_PACKS_FIRST
	ex = packs;
	co = condemned;
#else
	co = condemned;
	ex = packs;
#endif
}

proctype writer(byte w)
{
	byte ex, co;
	bit known;

#ifdef BROKEN_LOOK_BEFORE_LEASE
	look(ex, co);
	leases = leases | WRITES(w);
#else
	leases = leases | WRITES(w);
	look(ex, co);
#endif
	d_step { known = (GOOD(ex, co) != 0); ex = 0; co = 0 };
	if
	:: known -> skip /* it relies on a pack that was good then */
	:: atomic { (EXIST & ~(1 << w)) != 0 -> skip } /* it has another checkpoint as its base */
	:: atomic { !known -> packs = packs | OWN(w) }
	fi;
	if
	:: d_step { manifests = manifests | (1 << w); known = 0; safe() }
	:: known = 0; /* it gives up, or dies */
#ifdef BROKEN_ABORT_DELETES
		packs = packs & ~OWN(w)
#endif
	fi;
	leases = leases & ~WRITES(w)
}

proctype reader()
{
	byte ex, co, home;

	leases = leases | READS;
	if
	:: EXIST != 0 ->
		look(ex, co);
		d_step { home = HOME(ex, co); ex = 0; co = 0 };
		/* Any time later. */
#ifdef LOOKS_AGAIN
		d_step { assert(packs != 0); home = 0 } /* if its pack is gone */
#else
		d_step { assert((packs & home) != 0); home = 0 }
#endif
	:: EXIST == 0
	fi;
	leases = leases & ~READS
}

proctype remover()
{
	byte l, m, times;

	do
	:: times < REMOVALS ->
		if
		:: d_step { EXIST & 1 -> m = 1; removed = removed | m }
		:: d_step { EXIST & 2 -> m = 2; removed = removed | m }
		:: break
		fi;
		l = leases;
#ifdef BROKEN_REMOVE_AT_ONCE
		l = 0;
#endif
		if
		:: d_step { l == 0 -> manifests = manifests & ~m };
			removed = removed & ~m
		:: d_step { l != 0 -> removed_waits[m] = l }
		:: skip /* it dies */
		fi;
		d_step { l = 0; m = 0; times++ }
	:: times == REMOVALS -> break
	od;
	times = 0
}

/* removals_settle(): one checkpoint. */
inline complete(m)
{
	d_step { gone = (removed & m) != 0; text = removed_waits[m] };
	if
	:: gone ->
		first = leases & ~me;
		if
		:: d_step { text == 0 && first != 0 -> removed_waits[m] = first }
		:: text & first -> skip
		:: d_step { !(text & first) && !(text == 0 && first != 0) -> manifests = manifests & ~m };
			d_step { removed = removed & ~m; removed_waits[m] = 0 }
		fi;
		d_step { text = 0; first = 0; gone = 0 }
	:: !gone -> text = 0
	fi
}

/* packs_condemn(): one pack. */
inline condemn(p)
{
	if
	:: d_step {
		(ex & p) && !(co & p) && !(live && HOME(ex, co) == p && emptied != p) ->
		condemned = condemned | p; co = co | p; round[p] = 0; waits[p] = 0 }
	:: else
	fi
}

/* pack_settle() */
#define FREE (!(was_round == 0 && first != 0) && !(was_round != 0 && (text & first)))
inline settle(p)
{
	if
	:: d_step { (ex & co & p) -> text = waits[p]; was_round = round[p] };
		if
		:: d_step { was_round == 0 && first != 0 -> round[p] = 1; waits[p] = first }
		:: was_round != 0 && (text & first)
		:: d_step { FREE && live && HOME(ex, co) == p ->
			condemned = condemned & ~p; co = co & ~p; round[p] = 0; waits[p] = 0 }
#ifdef BROKEN_ONE_ROUND
		:: d_step { FREE && !(live && HOME(ex, co) == p) -> packs = packs & ~p; safe() };
#else
		:: d_step { FREE && !(live && HOME(ex, co) == p) && was_round != 2 && second != 0 ->
			round[p] = 2; waits[p] = second }
		:: d_step { FREE && !(live && HOME(ex, co) == p) && (was_round == 2 || second == 0) ->
			packs = packs & ~p; safe() };
#endif
			d_step { condemned = condemned & ~p; round[p] = 0; waits[p] = 0 }
		fi;
		d_step { text = 0; was_round = 0 }
	:: else
	fi
}
proctype collector(byte g)
{
	byte ex, co, me, first, second, text, was_round, emptied, turn;
	bit live, gone;

	do
	:: turn < TURNS ->
		d_step { me = COLLECTS(g, turn); leases = leases | me };
#ifndef BROKEN_TWO_COLLECTIONS
		if
		:: leases & COLLECTIONS & ~me -> goto ended
		:: !(leases & COLLECTIONS & ~me)
		fi;
#endif
		complete(1);
		complete(2);
		d_step { co = condemned; ex = packs }; /* nobody else condemns */
		live = (manifests != 0);
		if
#ifdef MOVES
		:: d_step { live && GOOD(ex, co) != 0 && !(ex & MOVED) -> /* a pack is mostly dead */
			emptied = HOME(ex, co);
			packs = packs | MOVED; ex = ex | MOVED }
#endif
		:: skip
		fi;
		condemn(1); condemn(2); condemn(4); condemn(8);
		d_step { emptied = 0; first = leases & ~me };
#ifndef BROKEN_NO_REMARK
		live = (live || manifests != 0);
#endif
		second = leases & ~me;
		settle(1); settle(2); settle(4); settle(8);
ended:
		skip;
		d_step { first = 0; second = 0; live = 0; ex = 0; co = 0 };
		d_step { leases = leases & ~me; me = 0; turn++ }
	:: turn == TURNS -> break
	:: break
	od;
	turn = 0
}

init {
	atomic {
		if
		:: packs = OLD
#if WRITERS < 2
		/* What the other writer has left: a checkpoint that needs a pack; which a collection has condemned, as it
		 * was not needed yet. */
		:: packs = OWN(1); manifests = 2
		:: packs = OLD; manifests = 2; condemned = OLD; round[OLD] = 1; waits[OLD] = WRITES(1)
		:: packs = OWN(1); manifests = 2; condemned = OWN(1); round[OWN(1)] = 1; waits[OWN(1)] = WRITES(1)
#else
		:: skip
#endif
		fi;
#if WRITERS > 0
		run writer(0);
#endif
#if WRITERS == 2
		run writer(1);
#endif
#ifdef READER
		run reader();
#endif
#if REMOVALS > 0
		run remover();
#endif
		run collector(0);
#if COLLECTORS == 2
		run collector(1);
#endif
	}
}
