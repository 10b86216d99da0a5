//! What one client may take from the others: requests in a second, connections, memory of bodies. Counted with the
//! crate's own limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenfold::clock::{Clock, SystemClock};
use tenfold::limit::{IncrementError, LimitSpec, Limits, Mode};

use crate::answer::Refusal;

/// Bounds of a host, besides those of its engines.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once, from all addresses.
    pub connections: usize,
    /// Connections at once from one address.
    pub from_one: usize,
    /// How long the head of a request may take, and how long a connection may wait for one.
    pub head: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// How long a client may leave an answer unread.
    pub write: Duration,
    /// Bytes of one body.
    pub body_bytes: usize,
    /// Bytes of all bodies of one organisation that are being read.
    pub bodies_bytes: u32,
    /// Headers of a request.
    pub headers: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Live pages of one organisation.
    pub pages: u32,
    /// Wrong tokens in a second, from everybody.
    pub strangers: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            from_one: 512,
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            write: Duration::from_secs(20),
            body_bytes: 2 << 20,
            bodies_bytes: 32 << 20,
            headers: 64,
            head_bytes: 32 << 10,
            pages: 16,
            strangers: 1000,
        }
    }
}

/// Requests in a second, by name: a bucket of two seconds' worth for each.
#[derive(Debug)]
pub struct Rates {
    limits: Limits,
    clock: SystemClock,
}

impl Rates {
    /// No rates yet.
    pub fn new() -> Self {
        Self {
            limits: Limits::new(),
            clock: SystemClock::new(),
        }
    }

    /// Allows `rate` requests in a second under this name.
    ///
    /// # Errors
    ///
    /// A sentence, for a name that a limit cannot have.
    pub fn define(&self, name: &str, rate: u32) -> Result<(), String> {
        let spec = LimitSpec::new(name, rate.saturating_mul(2)).decay(f64::from(rate));
        self.limits
            .define(spec, self.clock.now().mono)
            .map(drop)
            .map_err(|problem| problem.to_string())
    }

    /// Counts one request.
    ///
    /// # Errors
    ///
    /// 429, with the time after which there is room again.
    pub fn pass(&self, name: &str) -> Result<(), Refusal> {
        let now = self.clock.now().mono;
        match self.limits.increment(&[name], 1, Mode::RateLimit, now) {
            Ok(_) => Ok(()),
            Err(IncrementError::Busy { retry_after, .. }) => Err(Refusal::later(
                "RATE_LIMITED",
                "too many requests in a second; slow down",
                retry_after,
            )),
            Err(problem) => Err(Refusal::internal(&problem)),
        }
    }
}

/// Connections that are open, by address.
#[derive(Clone, Debug)]
pub struct Doors {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    all: usize,
    from_one: usize,
}

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
pub struct Door {
    doors: Doors,
    address: IpAddr,
}

impl Doors {
    /// As many as the bounds say.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            open: Arc::default(),
            all: bounds.connections,
            from_one: bounds.from_one,
        }
    }

    /// Lets a connection in, or not.
    pub fn enter(&self, address: IpAddr) -> Option<Door> {
        let mut open = self.open.lock();
        if open.values().sum::<usize>() >= self.all {
            return None;
        }
        let mine = open.entry(address).or_default();
        if *mine >= self.from_one {
            return None;
        }
        *mine += 1;
        Some(Door {
            doors: self.clone(),
            address,
        })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock();
        if let Some(mine) = open.get_mut(&self.address) {
            *mine -= 1;
            if *mine == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_all_doors() {
        let bounds = Bounds {
            connections: 3,
            from_one: 2,
            ..Bounds::default()
        };
        let doors = Doors::new(&bounds);
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
        let held = [doors.enter(one), doors.enter(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(doors.enter(one).is_none(), "a third from one address");
        let other = doors.enter(two);
        assert!(other.is_some());
        assert!(doors.enter(three).is_none(), "a fourth in all");
        drop(held);
        assert!(doors.enter(one).is_some() && doors.enter(three).is_some());
    }
}
