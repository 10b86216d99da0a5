//! Workers on plain threads: no async runtime anywhere. Builds with `--no-default-features`.
//!
//! Three threads count the words of texts, urgent ones first, while a limit lets two of a customer's in at once; one text is
//! submitted as a closure, and a text that cannot be read fails its run and nothing else.

use std::time::Duration;

use tenfold::limit::LimitSpec;
use tenfold::model::StateType;
use tenfold::runner::{Job, RunError};
use tenfold::{Engine, NewRun, Priority};

const TEXTS: [&str; 6] = [
    "the order of things",
    "first in, first out",
    "",
    "ten levels and a line in each",
    "nobody overtakes without a reason",
    "done",
];

fn words(job: &Job) -> Result<usize, RunError> {
    let text: String = job.parameter("text")?;
    match text.split_whitespace().count() {
        0 => Err(RunError::new("there are no words in it")),
        count => Ok(count),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new();
    engine.define_limit(LimitSpec::new("customer:*", 2))?;
    let runner = engine.runner().handler("count", words)?.threads(3).start()?;

    let mut runs = Vec::new();
    for (at, text) in TEXTS.into_iter().enumerate() {
        let new = NewRun::of("count")
            .parameter("text", text)
            .priority(if at == 5 { Priority::MAX } else { Priority::MIN })
            .slot(format!("customer:{}", at % 2));
        runs.push(engine.submit(new)?.id);
    }
    let captured = String::from("a closure brings what it needs");
    runs.push(
        engine
            .submit_closure("count", move |_| Ok(captured.split(' ').count()))?
            .id,
    );

    let mut counts = Vec::new();
    for run in runs {
        let run = engine.wait(run)?.for_at_most(Duration::from_secs(60))?;
        let run = run.ok_or("it takes no time")?;
        println!("{:<10} {:?}", run.state_name.unwrap_or_default(), run.result);
        if run.state_type == Some(StateType::Failed) {
            counts.push(None);
        } else {
            counts.push(run.result.and_then(|result| result.as_u64()));
        }
    }
    assert_eq!(
        counts,
        [Some(4), Some(4), None, Some(7), Some(5), Some(1), Some(6)]
    );

    let report = runner.drain();
    assert_eq!((report.waiting, report.executing.len()), (0, 0));
    assert_eq!(engine.snapshot().processing_tasks, 0, "every slot is back");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_counts_all_texts() {
        super::main().expect("it runs to its end");
    }
}
