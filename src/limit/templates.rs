//! Templates (L8): `tenant:*` makes `tenant:42` when it is first named and forgets it with its last holder and waiter.
//!
//! Interest is what keeps a made limit while nobody holds it. [`Book::resolve`] counts one for each limit of the demand;
//! [`Book::forget`] gives it up when the asker is done, whether it was let in or not. A made limit that decays is kept until
//! it has drained: forgetting it before would forget the rate.

use std::sync::Arc;
use std::time::Duration;

use super::book::{Book, Kind, NIL};
use super::demand::{Ask, Demand, LimitKey, REQUEST_LIMITS_MAX, RequestError};
use super::spec::{check_name, template_prefix};

/// Draining limits looked at for each request, so that they cannot pile up: two leave for one that comes.
const SWEPT: usize = 2 * REQUEST_LIMITS_MAX;
/// So many are looked at by who finds the book full.
const SWEPT_WHEN_FULL: usize = 64;

/// What a name stands for.
pub(crate) enum Named {
    Limit(LimitKey),
    /// A limit that this template would make.
    Made {
        by: LimitKey,
    },
}

/// The names and weights of a request, and what the names stand for.
pub(crate) type Found<'a> = [Option<(&'a str, u32, Named)>; REQUEST_LIMITS_MAX];

impl Book {
    /// Turns names and weights into a demand, making what templates cover, and counts an interest in each limit until
    /// [`forget`](Self::forget).
    ///
    /// # Errors
    ///
    /// [`RequestError`] for what could never be granted: it is said at once, and nothing is changed.
    pub fn resolve<'a>(
        &mut self,
        request: impl IntoIterator<Item = (&'a str, u32)>,
        now: Duration,
    ) -> Result<Demand, RequestError> {
        self.make_way(now);
        let found = self.check_request(request)?;
        let mut demand = Demand::new();
        for (name, weight, named) in found.into_iter().flatten() {
            let limit = self.make(name, &named, now);
            self.limits[limit.index()].interest += 1;
            demand
                .push(Ask { limit, weight })
                .expect("eight different limits, each with a weight");
        }
        Ok(demand)
    }

    /// What the names stand for, when the request could be granted one day.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub(crate) fn check_request<'a>(
        &self,
        request: impl IntoIterator<Item = (&'a str, u32)>,
    ) -> Result<Found<'a>, RequestError> {
        let mut found: Found = Default::default();
        let mut new = 0;
        for (position, (name, weight)) in request.into_iter().enumerate() {
            if position == REQUEST_LIMITS_MAX {
                return Err(RequestError::TooMany);
            }
            if found.iter().flatten().any(|(other, ..)| *other == name) {
                return Err(RequestError::Duplicate {
                    name: name.to_owned(),
                });
            }
            let named = self.named(name)?.ok_or_else(|| RequestError::Unknown {
                name: name.to_owned(),
            })?;
            self.check_weight(name, &named, weight)?;
            new += usize::from(matches!(named, Named::Made { .. }));
            found[position] = Some((name, weight, named));
        }
        self.check_places(new)?;
        Ok(found)
    }

    /// The limit that a name stands for, made if a template covers it; `None` for a name that stands for nothing. Beyond the
    /// most that the book keeps, for who was promised it before. Whoever keeps the key counts its interest.
    pub(crate) fn bind(&mut self, name: &str, now: Duration) -> Option<LimitKey> {
        let named = self.named(name).ok().flatten()?;
        Some(self.make(name, &named, now))
    }

    /// Counts one more interest in a limit.
    pub(crate) fn retain_key(&mut self, limit: LimitKey) {
        if let Some(limit) = self.get_mut(limit) {
            limit.interest = limit.interest.saturating_add(1);
        }
    }

    /// Gives up one interest in a limit. What a template made and nobody needs any more is forgotten.
    pub(crate) fn forget_key(&mut self, limit: LimitKey, now: Duration) {
        if let Some(held) = self.get_mut(limit) {
            held.interest = held.interest.saturating_sub(1);
            self.collect(limit, now);
        }
    }

    /// Counts one more interest in each limit of a demand.
    pub fn retain(&mut self, demand: &Demand) {
        for ask in demand.asks() {
            self.retain_key(ask.limit);
        }
    }

    /// Gives up one interest in each limit of a demand. What a template made and nobody needs any more is forgotten.
    pub fn forget(&mut self, demand: &Demand, now: Duration) {
        for ask in demand.asks() {
            self.forget_key(ask.limit, now);
        }
    }

    /// What a name stands for; `None` if for nothing.
    pub(super) fn named(&self, name: &str) -> Result<Option<Named>, RequestError> {
        if let Some(limit) = self.find(name) {
            return if self.limits[limit.index()].kind == Kind::Template {
                Err(RequestError::Template {
                    name: name.to_owned(),
                })
            } else {
                Ok(Some(Named::Limit(limit)))
            };
        }
        if self.templates == 0 || check_name(name).is_err() || template_prefix(name).is_some() {
            return Ok(None);
        }
        // The longest prefix wins; something must stand in place of the star.
        let mut pattern = String::with_capacity(name.len() + 1);
        let by = name.char_indices().rev().find_map(|(end, _)| {
            pattern.clear();
            pattern.push_str(&name[..end]);
            pattern.push('*');
            self.find(&pattern)
        });
        Ok(by.map(|by| Named::Made { by }))
    }

    /// Refuses a weight that can never fit the limit as it is.
    pub(super) fn check_weight(&self, name: &str, named: &Named, weight: u32) -> Result<(), RequestError> {
        let (Named::Limit(limit) | Named::Made { by: limit }) = named;
        let limit = &self.limits[limit.index()];
        if weight == 0 {
            return Err(RequestError::WeightZero {
                name: name.to_owned(),
            });
        }
        if limit.active && limit.slots < weight {
            return Err(RequestError::AboveLimit {
                name: name.to_owned(),
                weight,
                slots: limit.slots,
            });
        }
        Ok(())
    }

    /// Forgets what has drained of the limits that templates made, the longest unseen first and a bounded number of them: who
    /// comes again and again gets around all of them. Before names are looked up, so that no limit goes that was just found.
    pub(crate) fn make_way(&mut self, now: Duration) {
        let full = self.places_left() < REQUEST_LIMITS_MAX;
        self.sweep(if full { SWEPT_WHEN_FULL } else { SWEPT }, now);
    }

    /// Refuses more new limits than the book keeps.
    pub(super) fn check_places(&self, new: usize) -> Result<(), RequestError> {
        if self.places_left() < new {
            return Err(RequestError::TooManyLimits { limits: self.len() });
        }
        Ok(())
    }

    /// The limit that a name stands for, made now if need be. The caller has checked that there is a place.
    pub(super) fn make(&mut self, name: &str, named: &Named, now: Duration) -> LimitKey {
        let by = match *named {
            Named::Limit(limit) => return limit,
            Named::Made { by } => by,
        };
        let name: Arc<str> = name.into();
        let template = &self.limits[by.index()];
        let (slots, active, rate, decay) = (template.slots, template.active, template.rate, template.decay);
        let key = self.place(Arc::clone(&name), Kind::Named, slots, now);
        let limit = &mut self.limits[key.index()];
        limit.active = active;
        limit.rate = rate;
        limit.decay = decay;
        limit.made_by = Some(by);
        self.names.insert(name, key.index); // B4
        key
    }

    /// Forgets a made limit that nobody holds, wants, or is still rated by.
    pub(super) fn collect(&mut self, key: LimitKey, now: Duration) {
        let Some(limit) = self.get_mut(key) else {
            return;
        };
        if limit.made_by.is_none()
            || (0 < limit.interest && !fault!(TemplateForgetsWaiters))
            || limit.head != NIL
            || 0 < limit.anonymous
        {
            return;
        }
        if limit.used(now) == 0 {
            self.forget_place(key);
        } else if !limit.listed {
            limit.listed = true;
            self.draining.push_back(key);
        }
    }

    /// Looks at up to so many draining limits, the longest unseen first.
    pub(super) fn sweep(&mut self, at_most: usize, now: Duration) {
        for _ in 0..at_most.min(self.draining.len()) {
            let Some(key) = self.draining.pop_front() else {
                return;
            };
            if let Some(limit) = self.get_mut(key) {
                limit.listed = false;
                self.collect(key, now);
            }
        }
    }
}
