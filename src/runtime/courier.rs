//! A task that tells of completions: takes what is ready in a hook, awaits the handler, reports.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::engine::{Delivery, Engine, drop_quietly};
use crate::model::Text;
use crate::runner::{Errand, RunError, TellDuty, panic_message};

type Telling = Pin<Box<dyn Future<Output = Result<(), RunError>> + Send>>;

/// A hook and its handler.
#[derive(Clone)]
pub(super) struct Courier {
    hook: Text,
    handler: Arc<dyn Fn(Delivery) -> Telling + Send + Sync>,
}

/// What a handler holds may panic when it is dropped; it has told all the same, or not.
struct Guarded(Option<Telling>);

impl Drop for Guarded {
    fn drop(&mut self) {
        drop_quietly(self.0.take());
    }
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Courier").field(&self.hook).finish()
    }
}

impl Courier {
    pub(super) fn new<H, F>(hook: &str, handler: H) -> Self
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        Self {
            hook: Text::from(hook),
            handler: Arc::new(move |delivery| Box::pin(handler(delivery))),
        }
    }

    /// Delivers until told to leave; a handler that has not ended then has `grace`.
    pub(super) async fn serve(self, engine: Engine, errand: Arc<Errand>, grace: Duration) {
        let Ok(waits) = engine.await_deliveries(&self.hook, errand.bell.clone()) else {
            return;
        };
        while errand.now.reason().is_none() {
            // Before the look: what was there when it was told to leave is delivered.
            let leaves = errand.leaves_when_done();
            match TellDuty::take(&waits) {
                Ok(Some(duty)) => {
                    tokio::task::consume_budget().await;
                    let mut telling = std::pin::pin!(self.tell(duty.delivery().clone()));
                    let told = tokio::select! {
                        biased;
                        told = &mut telling => told,
                        _ = poll_fn(|context| errand.now.poll(context)) => {
                            let late = Err(Text::of("called off when the runtime stopped"));
                            tokio::time::timeout(grace, &mut telling).await.unwrap_or(late)
                        }
                    };
                    duty.report(told);
                }
                Ok(None) if leaves => return,
                Ok(None) => poll_fn(|context| errand.bell.poll(context)).await,
                Err(_) => return,
            }
        }
    }

    /// Calls the handler, whose panics are failures like others.
    async fn tell(&self, delivery: Delivery) -> Result<(), Text> {
        let panicked = |panic| Text::from(panic_message(panic));
        let called = catch_unwind(AssertUnwindSafe(|| (self.handler)(delivery)));
        let mut telling = Guarded(Some(called.map_err(panicked)?));
        let told = poll_fn(|context| {
            let telling = telling.0.as_mut().expect("it is there until it is dropped");
            let polled = catch_unwind(AssertUnwindSafe(|| telling.as_mut().poll(context)));
            polled.map_or_else(|panic| Poll::Ready(Err(panic)), |polled| polled.map(Ok))
        });
        let told = told.await.map_err(panicked)?;
        told.map_err(|error| error.into_message().into())
    }
}
