//! Shutting down with a deadline, and nothing lost.
//!
//! A runtime executes jobs that take their time. When the host has to go it takes no more runs, gives those that execute until a
//! deadline, calls off what is left, and writes the engine's document. The next process reads it: what was called off is on record,
//! what waited stands where it stood, and every job was done once or is known not to be.

use std::time::Duration;

use tenfold::{Claims, Engine, NewRun, RunId};

const JOBS: usize = 12;

fn engine() -> Result<Engine, tenfold::Error> {
    let engine = Engine::builder().limit(4).build()?;
    handle(&engine)?;
    Ok(engine)
}

/// Every third job goes on until somebody stops it.
fn handle(engine: &Engine) -> Result<(), tenfold::Error> {
    engine.handler("job", |context| async move {
        let n: usize = context.parameter("n")?;
        if n % 3 == 2 && !context.parameter::<bool>("short")? {
            context.cancelled().await;
        }
        Ok(n)
    })?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let first = engine()?;
    let submit = |n: usize, short: bool| {
        let new = NewRun::of("job").parameter("n", n).parameter("short", short);
        first.submit(new).map(|submitted| submitted.id)
    };
    let mut jobs = (0..JOBS)
        .map(|n| submit(n, false))
        .collect::<Result<Vec<RunId>, _>>()?;

    // Let it come to work, and more come in while it is at it.
    let runtime = first.runtime().grace(Duration::from_millis(50)).start()?;
    while first.snapshot().processing_tasks < 4 {
        tokio::task::yield_now().await;
    }
    for n in JOBS..2 * JOBS {
        jobs.push(submit(n, true)?);
    }

    let report = runtime.stop(Duration::from_millis(50)).await;
    let status = first.snapshot();
    println!(
        "done {}, called off {}, waiting {}",
        status.totals.completed,
        report.cancelled.len(),
        report.waiting
    );
    assert_eq!(status.processing_tasks, 0, "every slot is back");
    let accounted = status.totals.completed + status.totals.cancelled + report.waiting as u64;
    assert_eq!(accounted, jobs.len() as u64, "nothing is lost");

    // The next process.
    let text = serde_json::to_string(&first.export()?)?;
    let second = Engine::builder().import(serde_json::from_str(&text)?, Claims::PutBack)?;
    assert_eq!(second.snapshot().queued_tasks, report.waiting);
    // What was asked to stop and is not done is submitted again; the host decides that.
    handle(&second)?;
    for run in &report.cancelled {
        let n = second.run(*run)?.parameters["n"].clone();
        jobs.push(
            second
                .submit(NewRun::of("job").parameter("n", n).parameter("short", true))?
                .id,
        );
    }
    let runtime = second.start()?;
    // Jobs of the first process that wait for somebody to stop them are stopped.
    for &job in &jobs {
        if second.run(job)?.parameters["short"] == false {
            let _ = second.cancel(job);
        }
    }
    for job in jobs {
        second.wait(job)?.await;
    }
    let report = runtime.drain().await;
    assert_eq!((report.waiting, report.scheduled), (0, 0));
    let totals = second.snapshot().totals;
    println!("done {}, called off {}", totals.completed, totals.cancelled);
    assert_eq!(
        totals.completed + totals.cancelled,
        totals.accepted,
        "each ended once"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_loses_nothing() {
        super::main().expect("it runs to its end");
    }
}
