//! The engine's numbers for the `metrics` crate. Feature `metrics`.
//!
//! Pulled, not pushed: a host calls [`Engine::record_metrics`] when somebody asks for numbers, and they are read from one
//! status report. So a claim or a submission costs the same with the feature as without.

use metrics::{Label, counter, gauge};

use super::Engine;

impl Engine {
    /// Hands the numbers of one instant to the recorder of the `metrics` crate, each with these labels. Needs the feature
    /// `metrics`.
    ///
    /// | name | kind | what |
    /// |---|---|---|
    /// | `tenfold_runs_waiting{priority}` | gauge | runs that are due and wait, by level |
    /// | `tenfold_runs_blocked` | gauge | of these, those that a limit or a pause holds back |
    /// | `tenfold_runs_processing` | gauge | runs that are handed out |
    /// | `tenfold_runs_scheduled` | gauge | runs that are not due yet |
    /// | `tenfold_runs_finished` | gauge | records of ended runs that are kept |
    /// | `tenfold_slots` | gauge | slots of the engine; absent when nothing limits it |
    /// | `tenfold_runs_accepted_total` | counter | since the engine was made |
    /// | `tenfold_attempts_claimed_total`, `tenfold_attempts_retried_total` | counter | |
    /// | `tenfold_runs_ended_total{outcome}` | counter | `completed`, `failed`, `crashed`, `cancelled` |
    /// | `tenfold_occurrences_missed_total` | counter | |
    ///
    /// All of them are of the same instant, as in [`snapshot`](Self::snapshot). Takes no lock of the engine.
    ///
    /// ```
    /// use tenfold::{Engine, NewRun};
    ///
    /// let engine = Engine::new();
    /// engine.flow("mail")?;
    /// engine.submit("mail")?;
    /// let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    /// metrics::with_local_recorder(&recorder, || engine.record_metrics(&[("engine", "post")]));
    /// let text = recorder.handle().render();
    /// assert!(text.contains(r#"tenfold_runs_waiting{engine="post",priority="1"} 1"#));
    /// # Ok::<(), tenfold::Error>(())
    /// ```
    pub fn record_metrics(&self, labels: &[(&'static str, &str)]) {
        let status = self.snapshot();
        let own = || {
            labels
                .iter()
                .map(|(key, value)| Label::new(*key, (*value).to_owned()))
        };
        let plain = || own().collect::<Vec<_>>();
        let with =
            |key: &'static str, value: String| own().chain([Label::new(key, value)]).collect::<Vec<_>>();
        for priority in crate::priority::Priority::descending() {
            let waiting = f64::from(status.priority_breakdown.at(priority));
            gauge!("tenfold_runs_waiting", with("priority", priority.to_string())).set(waiting);
        }
        gauge!("tenfold_runs_blocked", plain()).set(number(status.blocked));
        gauge!("tenfold_runs_processing", plain()).set(number(status.processing_tasks));
        gauge!("tenfold_runs_scheduled", plain()).set(number(status.scheduled));
        gauge!("tenfold_runs_finished", plain()).set(number(status.finished));
        if let Some(slots) = status.concurrency {
            gauge!("tenfold_slots", plain()).set(f64::from(slots.max));
        }
        let totals = status.totals;
        counter!("tenfold_runs_accepted_total", plain()).absolute(totals.accepted);
        counter!("tenfold_attempts_claimed_total", plain()).absolute(totals.claimed);
        counter!("tenfold_attempts_retried_total", plain()).absolute(totals.retried);
        counter!("tenfold_occurrences_missed_total", plain()).absolute(totals.missed);
        let ended = [
            ("completed", totals.completed),
            ("failed", totals.failed),
            ("crashed", totals.crashed),
            ("cancelled", totals.cancelled),
        ];
        for (outcome, count) in ended {
            counter!("tenfold_runs_ended_total", with("outcome", outcome.to_owned())).absolute(count);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; counts of runs are far below 2^53"
)]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use crate::{Engine, NewRun, Outcome, Priority, Scope};

    #[test]
    fn t1_the_numbers_are_those_of_one_report() {
        let engine = Engine::builder().limit(3).build().unwrap();
        engine.flow("mail").unwrap();
        for level in [2, 9, 9] {
            engine
                .submit(NewRun::of("mail").priority(Priority::new(level).unwrap()))
                .unwrap();
        }
        let claim = engine.claim(&Scope::all()).unwrap().unwrap();
        engine.begin(&claim).unwrap();
        engine.complete(&claim, Outcome::Completed(().into())).unwrap();
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || engine.record_metrics(&[]));
        let text = recorder.handle().render();
        let expected = [
            r#"tenfold_runs_waiting{priority="10"} 0"#,
            r#"tenfold_runs_waiting{priority="9"} 1"#,
            r#"tenfold_runs_waiting{priority="2"} 1"#,
            "tenfold_runs_processing 0",
            "tenfold_slots 3",
            "tenfold_runs_accepted_total 3",
            r#"tenfold_runs_ended_total{outcome="completed"} 1"#,
        ];
        for line in expected {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
