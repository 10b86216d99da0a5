//! The strongest plain opponent of a queue.

#![allow(unreachable_pub, reason = "shared by two benches, as if it were a crate")]

use std::collections::VecDeque;

use tenfold::Priority;

/// Ten deques and a bitmap, to be put in one mutex. No tickets, no capacity.
#[derive(Default)]
pub struct Deques {
    lanes: [VecDeque<u64>; Priority::LEVELS],
    occupied: u16,
}

impl Deques {
    pub fn push(&mut self, priority: Priority, item: u64) {
        let lane = usize::from(priority.level()) - 1;
        self.lanes[lane].push_back(item);
        self.occupied |= 1 << lane;
    }

    pub fn pop(&mut self) -> Option<u64> {
        let lane = 15_usize.checked_sub(self.occupied.leading_zeros() as usize)?;
        let item = self.lanes[lane].pop_front();
        if self.lanes[lane].is_empty() {
            self.occupied &= !(1 << lane);
        }
        item
    }
}
