//! Engine and facts have to agree.

use super::world::*;
use crate::engine::*;
use crate::model::JobState;
use crate::model::view::Counts;

impl World {
    /// With nothing on its way, engine and facts agree.
    pub fn check(&mut self) {
        assert!(self.engine.is_open(), "the engine is open");
        assert!(!self.engine.has_commit() && self.in_flight.is_empty(), "nothing is on its way");
        assert!(self.taken.jobs == self.released.jobs, "what is taken is released");
        for &queue in self.queues.keys() {
            let facts = self.released.counts(queue, self.now_ms);
            let counts = self.engine.counts(queue);
            let expected = Counts::from_array(facts);
            // In a segment that is not in memory, what is due counts as scheduled.
            assert_eq!(
                Counts { waiting: counts.waiting + counts.scheduled, scheduled: 0, ..counts },
                Counts { waiting: expected.waiting + expected.scheduled, scheduled: 0, ..expected },
                "counts of queue {queue}"
            );
            if self.engine.unloaded == 0 {
                assert_eq!(counts, expected, "counts of queue {queue}");
            }
        }
        let slots = &self.engine.slots;
        assert_eq!((slots.open(), slots.unknown()), (&self.released.open_by_slot(), 0), "open jobs by slot");
        for id in &self.acknowledged {
            assert!(self.released.jobs.contains_key(id), "{id} was acknowledged, and is lost");
        }
        for id in &self.succeeded {
            let state = self.released.jobs[id].state;
            assert!(
                matches!(state, Some(JobState::Succeeded) | None),
                "{id} had succeeded, and is {state:?}"
            );
        }
        self.check_states();
    }

    fn check_states(&self) {
        for (id, fact) in &self.released.jobs {
            let places = self.store.places_of(*id);
            let mut found = self.engine.state_of(*id, None);
            for place in places {
                if !matches!(found, Located::Elsewhere) {
                    break;
                }
                found = self.engine.state_of(*id, Some(place));
            }
            match found {
                Located::Here(state) => {
                    assert!(!fact.gone || fact.state.is_none(), "{id} is gone, and yet there");
                    assert_eq!(state.state, fact.state_at(self.now_ms), "state of {id}: {state:?} {fact:?}");
                    assert_eq!(state.place.place, fact.place, "place of {id}");
                    assert_eq!(
                        (state.row.attempt, state.row.failures, state.row.interruptions, state.row.priority),
                        (fact.attempt, fact.failures, fact.interruptions, fact.lane),
                        "counters of {id}"
                    );
                }
                Located::NotLoaded(segment) => {
                    let look =
                        self.engine.segment_named(segment).expect("a segment that is spoken of is there");
                    let moved = self.store.places_of(*id).contains(&fact.place);
                    assert!(look.name == fact.segment || moved, "segment of {id}");
                }
                Located::Elsewhere | Located::Unknown => {
                    assert!(
                        fact.gone || fact.state.is_none(),
                        "{id} is {:?}, and can't be found: {found:?}",
                        fact.state
                    );
                }
            }
        }
    }
}
