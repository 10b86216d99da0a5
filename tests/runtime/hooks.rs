//! Completion hooks as tokio tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenfold::engine::Hook;
use tenfold::{NewRun, RunId};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{AGES, SECOND, engine, until};

#[tokio::test(start_paused = true)]
async fn r8_five_attempts_two_four_eight_and_sixteen_minutes_apart_and_others_go_on() {
    let engine = engine();
    engine
        .handler("f", |context| async move { context.parameter::<u32>("n") })
        .unwrap();
    let (told, mut tells) = unbounded_channel();
    let begin = Instant::now();
    let runtime = engine
        .runtime()
        .on_completed(Hook::named("bell"), move |delivery| {
            let told = told.clone();
            async move {
                let run = delivery.run().unwrap();
                told.send((
                    run.result.clone(),
                    delivery.attempt(),
                    begin.elapsed().as_secs() / 60,
                ))?;
                assert!(run.result != Some(0.into()), "it never goes through");
                Ok(())
            }
        })
        .unwrap()
        .start()
        .unwrap();
    for n in 0..3 {
        engine.submit(NewRun::of("f").parameter("n", n)).unwrap();
    }
    let mut all = Vec::new();
    for _ in 0..7 {
        let (result, attempt, minute) = timeout(AGES, tells.recv()).await.unwrap().unwrap();
        all.push((result.unwrap().as_u64().unwrap(), attempt, minute));
    }
    assert_eq!(
        all,
        [
            (0, 1, 0),
            (1, 1, 0),
            (2, 1, 0),
            (0, 2, 2),
            (0, 3, 6),
            (0, 4, 14),
            (0, 5, 30)
        ]
    );
    until(&engine, |engine| engine.hooks().unwrap()[0].totals.given_up == 1).await;
    assert_eq!(
        &*engine.hooks().unwrap()[0].given_up[0].problem,
        "it never goes through"
    );
    assert_eq!(runtime.drain().await.undelivered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_a_handler_the_grace_period_and_keeps_the_rest() {
    let engine = engine();
    engine.handler("f", |_| async { Ok(()) }).unwrap();
    let begun = Arc::new(AtomicU32::new(0));
    let count = begun.clone();
    let runtime = engine
        .runtime()
        .grace(3 * SECOND)
        .on_completed(Hook::named("bell"), move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            async {
                sleep(Duration::from_secs(86_400)).await;
                Ok(())
            }
        })
        .unwrap()
        .start()
        .unwrap();
    let runs: Vec<RunId> = (0..2).map(|_| engine.submit("f").unwrap().id).collect();
    until(&engine, |_| begun.load(Ordering::SeqCst) == 1).await;
    runtime.idle().await;
    let begin = Instant::now();
    let report = timeout(AGES, runtime.stop(60 * SECOND))
        .await
        .expect("the stop ends");
    assert_eq!(begin.elapsed(), 3 * SECOND);
    assert_eq!(report.undelivered, runs.len());
    let status = &engine.hooks().unwrap()[0];
    assert_eq!(
        (status.ready, status.retrying),
        (1, 1),
        "one was tried, and is tried again"
    );
}

#[test]
fn a_delivery_whose_task_goes_away_has_failed() {
    let engine = engine();
    engine.handler("f", |_| async { Ok(()) }).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio.block_on(async {
        let (reach, mut reached) = unbounded_channel();
        let runtime = engine
            .runtime()
            .on_completed(Hook::named("bell"), move |_| {
                reach.send(()).unwrap();
                std::future::pending()
            })
            .unwrap()
            .start()
            .unwrap();
        engine.submit("f").unwrap();
        reached.recv().await.unwrap();
        std::mem::forget(runtime);
    });
    drop(tokio);
    let status = &engine.hooks().unwrap()[0];
    assert_eq!((status.taken, status.retrying), (0, 1));
}
