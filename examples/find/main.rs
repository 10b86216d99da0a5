//! Ask a catalog of 100,000 deployments: `cargo run --example find -- 'deployment.tags has_all ["etl"] and not paused'`.
//!
//! The catalog is made up, and the same every time: flows, deployments with tags, priorities, queues and pools, and some
//! runs in every stage. A filter of the text form (see `tenfold::filter::text` for its grammar) picks deployments; the
//! first of them are shown as a table, with how many there are, how long the answer took and what was looked at for it.
//! A wrong expression is shown with a caret under the fault. Nothing is kept: the next call makes the catalog anew.
//!
//! The exit code is 0 when the question was answered, also with nothing; 2 for a wrong filter or argument.

#![allow(
    unreachable_pub,
    reason = "a module's `pub` items are its face, as if the module were a crate"
)]

mod args;
#[path = "../shared/arguments.rs"]
mod arguments;
mod catalog;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use args::{Command, Options};
use tenfold::Error;
use tenfold::filter::{Entity, Filter, Limits, Query, Start};

fn main() -> ExitCode {
    let answer = args::parse(std::env::args().skip(1)).and_then(|command| match command {
        Command::Help => Ok(args::HELP.to_owned()),
        Command::Find(options) => find(&options),
    });
    match answer {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            eprintln!("find: {refusal}");
            ExitCode::from(2)
        }
    }
}

/// Makes the catalog, asks the question and renders the answer.
///
/// # Errors
///
/// What is wrong with the filter, with its caret.
fn find(options: &Options) -> Result<String, String> {
    // The question first: a wrong one is told before anything is made.
    let query = question(options).map_err(|error| error.to_string())?;
    let (engine, made) = timed(|| catalog::make(options.size));
    let engine = engine.map_err(|error| error.to_string())?;
    let (page, asked) = timed(|| engine.deployments(&query));
    let page = page.map_err(|error| error.to_string())?;
    let how = engine.explain_query(&query).map_err(|error| error.to_string())?;
    Ok(format!(
        "{}\n{} of {} deployments match; the first {} are shown\n\
         answered in {} from version {}, the making of its indexes included (the catalog took {} to make)\n{how}",
        table::render(&engine, &page.results),
        page.count,
        options.size,
        page.results.len(),
        span(asked),
        page.version,
        span(made),
    ))
}

fn question(options: &Options) -> Result<Query, Error> {
    let limits = Limits::default();
    let filter = Filter::parse(Entity::Deployment, &options.filter, catalog::now(), &limits)?;
    let query = Query::new(filter).window(Start::Offset(0), options.rows, &limits)?;
    Ok(match options.sort {
        Some(key) => query.sorted_by([key])?,
        None => query,
    })
}

/// Reads the machine's clock: how long something took is for people, and no part of the answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is about the engine; an example may look at its watch"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let answer = work();
    (answer, start.elapsed())
}

fn span(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &[&str]) -> Result<String, String> {
        match args::parse(line.iter().map(|&word| word.to_owned()))? {
            Command::Find(options) => find(&options),
            Command::Help => Ok(args::HELP.to_owned()),
        }
    }

    #[test]
    fn the_answer_of_the_front_page_counts_what_it_shows() {
        let filter = r#"deployment.tags has_all ["etl"] and not paused"#;
        let text = ask(&[filter, "--size", "700", "--rows", "5"]).unwrap();
        let engine = catalog::make(700).unwrap();
        let all = engine
            .deployments(&Query::new(Filter::everything(Entity::Deployment)))
            .unwrap();
        assert_eq!(all.count, 700);
        let expected = (0..700).map(catalog::deployment);
        let expected = expected
            .filter(|made| made.tags.contains(&"etl") && !made.paused)
            .count();
        assert!(expected > 5, "the catalog has some");
        assert!(
            text.contains(&format!(
                "{expected} of 700 deployments match; the first 5 are shown"
            )),
            "{text}"
        );
        let rows = text.lines().skip(2).take(5);
        assert!(rows.clone().all(|row| row.contains("etl")), "{text}");
        assert_eq!(rows.filter(|row| row.contains(" paused ")).count(), 0, "{text}");
    }

    #[test]
    fn a_wrong_filter_is_shown_with_its_caret() {
        let refused = ask(&["tags has_all ['etl'] and pausd", "--size", "10"]).unwrap_err();
        let lines: Vec<&str> = refused.lines().collect();
        assert_eq!(
            lines,
            [
                "a deployment has no field `pausd` (did you mean `paused`?)",
                "  | tags has_all ['etl'] and pausd",
                "  |                          ^^^^^",
            ]
        );
    }

    #[test]
    fn relations_are_asked_and_rows_are_sorted() {
        let text = ask(&[
            "any run where (state_type = FAILED)",
            "--size",
            "300",
            "--sort",
            "-priority",
        ])
        .unwrap();
        let levels: Vec<u8> = text
            .lines()
            .skip(2)
            .map_while(|line| line.split_whitespace().nth(1)?.parse().ok())
            .collect();
        assert!(levels.len() > 1 && levels.is_sorted_by(|a, b| a >= b), "{text}");
    }
}
