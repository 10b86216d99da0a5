//! The organisations: an engine, its workers and its past for each, found by token.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::{header, request::Parts};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tenfold::limit::Semaphore;
use tenfold::{Engine, Runtime, Scope};

use crate::answer::Refusal;
use crate::args::Options;
use crate::gate::{Bounds, Rates};
use crate::live::{History, sample};
use crate::work;

/// The name under which wrong tokens are counted; no organisation can have it.
const STRANGERS: &str = "strangers";

/// One organisation. Nothing in it is shared with another.
#[derive(Debug)]
pub struct Org {
    /// What it is called.
    pub name: String,
    /// Its engine.
    pub engine: Engine,
    /// How it stood, second by second.
    pub history: History,
    /// Bytes of bodies that are being read.
    pub bodies: Semaphore,
    /// Live pages.
    pub pages: Semaphore,
    /// Queries that scan, at once.
    pub queries: tokio::sync::Semaphore,
    runtime: Mutex<Option<Runtime>>,
}

/// All of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    orgs: Vec<Arc<Org>>,
    /// By the hash of the token: the time that a look-up takes says nothing about tokens.
    by_token: HashMap<[u8; 32], Arc<Org>>,
    rates: Rates,
    bounds: Bounds,
}

impl Host {
    /// Makes the engines and starts their workers, on the tokio runtime that this is called in.
    ///
    /// # Errors
    ///
    /// What an engine or a limit refuses.
    pub fn start(options: &Options) -> Result<Self, Box<dyn std::error::Error>> {
        Self::with(options, Bounds::default())
    }

    /// As [`start`](Self::start), with bounds of the caller's own.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn with(options: &Options, bounds: Bounds) -> Result<Self, Box<dyn std::error::Error>> {
        let rates = Rates::new();
        rates.define(STRANGERS, bounds.strangers)?;
        let (mut orgs, mut by_token) = (Vec::new(), HashMap::new());
        for (name, token) in &options.orgs {
            let engine = Engine::builder()
                .limit(options.slots)
                .waiting_runs(options.waiting)
                .build()?;
            work::register(&engine)?;
            rates.define(&rate_name(name), options.rate)?;
            let org = Arc::new(Org {
                name: name.clone(),
                history: History::default(),
                bodies: Semaphore::new(bounds.bodies_bytes),
                pages: Semaphore::new(bounds.pages),
                queries: tokio::sync::Semaphore::new(2),
                // What others make under `/api` is for their own workers, in other pools.
                runtime: Mutex::new(Some(engine.runtime().scope(Scope::pool(work::POOL)).start()?)),
                engine,
            });
            tokio::spawn(sample(Arc::downgrade(&org)));
            by_token.insert(hash(token), org.clone());
            orgs.push(org);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                orgs,
                by_token,
                rates,
                bounds,
            }),
        })
    }

    /// The first organisation.
    pub fn first(&self) -> &Arc<Org> {
        &self.shared.orgs[0]
    }

    /// The bounds.
    pub fn bounds(&self) -> &Bounds {
        &self.shared.bounds
    }

    /// Takes no more work, and ends what runs within three seconds.
    pub async fn stop(&self) {
        for org in &self.shared.orgs {
            let runtime = org.runtime.lock().take();
            if let Some(runtime) = runtime {
                runtime.stop(Duration::from_secs(3)).await;
            }
        }
    }

    fn caller(&self, parts: &Parts) -> Result<Arc<Org>, Refusal> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let Some(org) = token.and_then(|token| self.shared.by_token.get(&hash(token))) else {
            self.shared.rates.pass(STRANGERS)?;
            return Err(Refusal::unauthorized());
        };
        self.shared.rates.pass(&rate_name(&org.name))?;
        Ok(org.clone())
    }
}

fn rate_name(org: &str) -> String {
    format!("org:{org}")
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The organisation that a request speaks for. A handler that takes one cannot be reached without its token.
#[derive(Debug)]
pub struct Caller(pub Arc<Org>);

impl FromRequestParts<Host> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, host: &Host) -> Result<Self, Refusal> {
        host.caller(parts).map(Self)
    }
}
