//! What is seen while it runs: bars that move on a terminal, a line every second elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ledger::Running;
use crate::report::show;

/// How it stands at one instant.
#[derive(Clone, Debug)]
pub struct View {
    /// Since the start.
    pub elapsed: Duration,
    /// Waiting by level, the most urgent first.
    pub levels: Vec<(u8, u64)>,
    /// Waiting in all.
    pub queued: u64,
    /// Being processed.
    pub processing: u64,
    /// Ended, in whichever way.
    pub finished: u64,
    /// Of these, how many did not complete.
    pub failed: u64,
    /// What runs.
    pub running: Vec<Running>,
}

/// Where a [`View`] is shown.
#[derive(Debug)]
pub enum Display {
    /// Bars that are drawn over.
    Bars(Box<Bars>),
    /// Lines, one a second, for a pipe or a log.
    Lines {
        /// When the last one was printed.
        last: Option<Duration>,
    },
}

/// The bars on a terminal.
#[derive(Debug)]
pub struct Bars {
    screen: MultiProgress,
    total: ProgressBar,
    levels: ProgressBar,
    slots: Vec<ProgressBar>,
}

impl Display {
    /// Bars for `slots` jobs at a time if the output is a terminal, else lines.
    pub fn new(slots: usize) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Lines { last: None };
        }
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(10));
        let total = screen.add(ProgressBar::new(0));
        total.set_style(
            style("{elapsed_precise} [{bar:40.green}] {pos}/{len} runs  {msg}").progress_chars("=> "),
        );
        let levels = screen.add(ProgressBar::new_spinner());
        levels.set_style(style("  waiting  {msg}"));
        let slots = (0..slots)
            .map(|_| {
                let slot = screen.add(ProgressBar::new_spinner());
                slot.set_style(style("  {spinner:.cyan} {msg}"));
                slot
            })
            .collect();
        Self::Bars(Box::new(Bars {
            screen,
            total,
            levels,
            slots,
        }))
    }

    /// Shows `view`.
    pub fn show(&mut self, view: &View) {
        match self {
            Self::Bars(bars) => bars.show(view),
            Self::Lines { last } => {
                if last.is_none_or(|last| view.elapsed >= last + Duration::from_secs(1)) {
                    *last = Some(view.elapsed);
                    println!("{}", line(view));
                }
            }
        }
    }

    /// Prints `text` so that it stays.
    pub fn print(&self, text: &str) {
        match self {
            // When a terminal refuses a line there is nobody to tell.
            Self::Bars(bars) => drop(bars.screen.println(text)),
            Self::Lines { .. } => println!("{text}"),
        }
    }

    /// Takes the bars away.
    pub fn close(&self) {
        if let Self::Bars(bars) = self {
            for bar in bars.slots.iter().chain([&bars.levels, &bars.total]) {
                bar.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn show(&self, view: &View) {
        self.total
            .set_length(view.finished + view.processing + view.queued);
        self.total.set_position(view.finished);
        self.total.set_message(format!("{} failed", view.failed));
        self.levels.set_message(levels(view));
        for (index, slot) in self.slots.iter().enumerate() {
            slot.tick();
            slot.set_message(match view.running.get(index) {
                Some(running) => format!(
                    "{:<24} attempt {}  {}",
                    running.deployment,
                    running.attempt,
                    show(running.since.elapsed())
                ),
                None => "free".to_owned(),
            });
        }
    }
}

fn line(view: &View) -> String {
    format!(
        "{:>5.1} s  {:>4} finished ({} failed)  {} running  waiting: {}",
        view.elapsed.as_secs_f64(),
        view.finished,
        view.failed,
        view.processing,
        levels(view)
    )
}

/// `12 = 3 at level 9, 9 at level 1`.
fn levels(view: &View) -> String {
    if view.queued == 0 {
        return "nothing".to_owned();
    }
    let levels: Vec<_> = view
        .levels
        .iter()
        .map(|(level, count)| format!("{count} at {level}"))
        .collect();
    format!("{} ({})", view.queued, levels.join(", "))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates of this file are well formed")
}
