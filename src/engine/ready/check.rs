//! The invariants of the ready order, for tests and fuzzing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ready, Standing};

impl Ready {
    /// Panics unless every invariant holds. Linear in what waits.
    pub(crate) fn check(&self) {
        assert!(self.dirty.is_empty(), "a gate was not looked at again");
        let mut standing: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        let mut members: BTreeMap<(u32, u32), usize> = BTreeMap::new();
        let mut let_in: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        let mut parked: BTreeMap<u32, usize> = BTreeMap::new();
        let mut blocked = 0;
        for (number, class) in (0..)
            .zip(&self.classes)
            .filter_map(|(number, class)| Some((number, class.as_ref()?)))
        {
            let (queue, name) = (self.queue(class.queue), class.queue);
            let refuses = |need: &super::needs::Need| self.gate(need.gate).room < need.weight;
            if queue.paused || class.needs.iter().any(refuses) {
                blocked += class.lanes.len();
            }
            for need in &*class.needs {
                *members.entry((need.gate, name)).or_default() += 1;
                if !queue.paused && !class.lanes.is_empty() {
                    *standing.entry((need.gate, need.weight)).or_default() += class.lanes.len();
                }
            }
            let empty = matches!(class.standing, Standing::Idle);
            assert!(
                class.standing == Standing::Free || class.lanes.is_empty() == empty,
                "I1 broken: class {number} stands {:?} and holds {}",
                class.standing,
                class.lanes.len()
            );
            assert_eq!(
                class.head,
                class.first_head(),
                "I1 broken: the head of class {number}"
            );
            let Some(head) = class.head else { continue };
            if class.standing == Standing::Free {
                continue;
            }
            let open = class.standing == Standing::Open;
            assert_eq!(
                queue.open.contains(head, number),
                open,
                "I1 broken: class {number}"
            );
            for need in &*class.needs {
                let line = self.gate(need.gate).lines.get(&name);
                let inside = line.is_some_and(|line| line.let_in.contains(head, number));
                let is_parked = line.is_some_and(|line| line.is_parked(need.weight, head, number));
                assert_eq!(inside, open, "I1 broken: class {number} at gate {}", need.gate);
                let here = class.standing == Standing::Parked(need.gate);
                assert_eq!(is_parked, here, "I1 broken: class {number} at gate {}", need.gate);
                *parked.entry(need.gate).or_default() += usize::from(here);
                if open {
                    *let_in.entry((need.gate, name)).or_default() += u64::from(need.weight);
                }
            }
            if let Some(all) = &queue.strict {
                assert!(all.contains(head, number), "I6 broken: class {number}");
            }
        }
        for queue in self.queues.iter().flatten() {
            let here = |class: &&super::Class| {
                class.standing != Standing::Free
                    && !class.lanes.is_empty()
                    && self.queue(class.queue).free == queue.free
            };
            let classes = self.classes.iter().flatten().filter(here).count();
            assert!(
                queue.strict.as_ref().is_none_or(|all| all.len() == classes),
                "I6 broken"
            );
        }
        for ((queue, needs), &number) in &self.by_needs {
            let class = self.class(number);
            assert_eq!(
                (class.queue, class.needs),
                (*queue, *needs),
                "class {number} is found under other needs"
            );
        }
        let mut stopping = BTreeSet::new();
        let gates = (0..).zip(&self.gates);
        for (number, gate) in gates.filter_map(|(number, gate)| Some((number, gate.as_ref()?))) {
            let here = members.range((number, 0)..(number + 1, 0));
            let here: Vec<(u32, usize)> = here.map(|(&(_, queue), &classes)| (queue, classes)).collect();
            let lines: Vec<(u32, usize)> = (gate.lines.iter())
                .map(|(&queue, line)| (queue, line.members))
                .collect();
            assert_eq!(lines, here, "I5 broken at gate {number}");
            let all: usize = here.iter().map(|&(_, classes)| classes).sum();
            assert_eq!(gate.members, all, "I5 broken at gate {number}");
            let here = standing.range((number, 0)..(number + 1, 0));
            let here: Vec<(u32, usize)> = here.map(|(&(_, weight), &runs)| (weight, runs)).collect();
            let mut counted = gate.standing.clone();
            counted.retain(|&(_, runs)| 0 < runs);
            assert_eq!(counted, here, "I4 broken at gate {number}");
            assert_eq!(gate.refused, gate.count_refused(), "I4 broken at gate {number}");
            assert_eq!(
                gate.parked,
                parked.get(&number).copied().unwrap_or(0),
                "I1 broken at gate {number}"
            );
            if gate.refused > 0 {
                stopping.insert(number);
                assert_eq!(
                    self.stopping.get(gate.listed as usize),
                    Some(&number),
                    "I4 broken at gate {number}"
                );
            }
            for (queue, line) in &gate.lines {
                let taken = let_in.get(&(number, *queue)).copied().unwrap_or(0);
                assert_eq!(line.taken, taken, "I2 broken at gate {number}");
                assert!(
                    line.taken <= u64::from(gate.room) || gate.room == super::UNLIMITED,
                    "I2 broken at gate {number}: {} let in, room for {}",
                    line.taken,
                    gate.room
                );
                let best = line.let_in.first();
                for (weight, first, _) in line.firsts() {
                    assert!(
                        gate.room < weight
                            || gate.is_reserved_before(first)
                            || best.is_some_and(|(best, _)| best < first),
                        "I3 broken: gate {number} has room and its best class stays parked"
                    );
                }
            }
        }
        assert_eq!(
            self.stopping.iter().copied().collect::<BTreeSet<u32>>(),
            stopping,
            "I4 broken"
        );
        assert_eq!(
            self.stopping.len(),
            stopping.len(),
            "I4 broken: a gate is listed twice"
        );
        assert_eq!(self.blocked, blocked, "I4 broken");
        self.check_groups();
    }

    /// The room that a gate believes in.
    pub(crate) fn room_at(&self, limit: crate::limit::LimitKey) -> Option<u32> {
        Some(self.gate(self.find_gate(limit)?).room)
    }
}
