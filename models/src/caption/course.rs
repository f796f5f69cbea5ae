//! The course of one question over its attempts: what each outcome teaches, and what comes next.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    CaptionError, ClipFault, Request, Retries, RunFault,
    chat::Answered,
    client::Inner,
    gate::{Lesson, Permit},
    retry::chance,
    server::{Outcome, Rejection},
};

/// Clips that a server may reject one after the other before any was accepted.
const REJECTED_FIRST: u32 = 8;
/// Being told to wait is allowed so many times as often as failing.
const PATIENCE: u32 = 10;

/// How one question stands.
pub(super) struct Course {
    started: Instant,
    /// Time spent waiting for a server that takes requests.
    pub(super) waited: Duration,
    /// Requests sent.
    pub(super) attempts: u32,
    /// Those that may be the clip's fault.
    failures: u32,
    /// Those that are not: no server, or one without time.
    busy: u32,
    /// Answers for other clips among the failures.
    wrong: u32,
    /// Answers of no use among the failures.
    unusable: u32,
    /// What the last answer for another clip said it was for.
    found: String,
    /// A server's rejection of a schema, while the question is tried without.
    pub(super) without_schema: Option<(usize, Rejection)>,
}

/// What comes after an attempt.
pub(super) enum Next {
    /// Nothing: here is the answer.
    Done(Box<Answered>),
    /// Another attempt.
    Again,
    /// Another attempt after a pause.
    Pause(Duration),
}

impl Course {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            waited: Duration::ZERO,
            attempts: 0,
            failures: 0,
            busy: 0,
            wrong: 0,
            unusable: 0,
            found: String::new(),
            without_schema: None,
        }
    }

    /// Time spent asking and pausing.
    pub(super) fn spent(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.waited)
    }
}

impl Inner {
    /// Learns from an outcome, and decides: an answer, another try, or the end.
    pub(super) fn judge(
        &self,
        request: &Request,
        permit: Permit<'_>,
        course: &mut Course,
        outcome: Outcome,
    ) -> Result<Next, CaptionError> {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Relaxed);
        let lane = permit.lane;
        let is_busy = matches!(outcome, Outcome::Busy(..) | Outcome::Down(_));
        let problem = match outcome {
            Outcome::Answered(answered) => {
                permit.learn(Lesson::Good, "");
                self.has_accepted.store(true, Relaxed);
                if let Some((lane, _)) = &course.without_schema {
                    self.servers[*lane].refuses_schema.store(true, Relaxed);
                }
                if answered.structured {
                    self.servers[lane].keeps_schema.store(true, Relaxed);
                }
                return Ok(Next::Done(Box::new(answered)));
            }
            Outcome::Busy(wait, problem) => {
                count(&self.counters.throttled);
                course.busy += 1;
                permit.learn(Lesson::Busy(wait), &problem);
                problem
            }
            Outcome::Down(problem) => {
                count(&self.counters.failed);
                course.busy += 1;
                permit.learn(Lesson::Failed(None), &problem);
                problem
            }
            Outcome::Failed(wait, problem) => {
                count(&self.counters.failed);
                course.failures += 1;
                permit.learn(Lesson::Failed(wait), &problem);
                problem
            }
            Outcome::Unusable(problem) => {
                count(&self.counters.failed);
                course.failures += 1;
                course.unusable += 1;
                permit.learn(Lesson::Failed(None), &problem);
                problem
            }
            Outcome::WrongClip(found) => {
                count(&self.counters.wrong_clip);
                course.failures += 1;
                course.wrong += 1;
                permit.learn(Lesson::Failed(None), "its answers are for other clips");
                let problem = format!("the answer was for `{found}`");
                course.found = found;
                problem
            }
            Outcome::Rejected(rejection) => {
                permit.learn(Lesson::Good, "");
                return self.rejected(lane, course, rejection);
            }
            Outcome::Clip(fault) => {
                permit.learn(Lesson::Good, "");
                self.has_accepted.store(true, Relaxed);
                return Err(fault.into());
            }
            Outcome::Run(fault) => {
                permit.learn(Lesson::Good, "");
                return Err(self.gate.fail(fault).into());
            }
        };
        match self.fault(lane, course, problem) {
            Some(fault) => Err(fault.into()),
            // Where the server has no time, the gate knows how long to wait.
            None if is_busy => Ok(Next::Again),
            None => {
                let chance = chance(self.config.seed, &request.mark(), course.attempts);
                Ok(Next::Pause(self.config.retries.pause(course.failures, chance)))
            }
        }
    }

    /// The request was refused: because of a schema, because of this clip, or always.
    fn rejected(
        &self,
        lane: usize,
        course: &mut Course,
        rejection: Rejection,
    ) -> Result<Next, CaptionError> {
        if rejection.had_schema && course.without_schema.is_none() {
            course.without_schema = Some((lane, rejection));
            return Ok(Next::Again);
        }
        let endpoint = self.servers[lane].endpoint.to_string();
        // It was not the schema: the first words are about what was meant.
        let first = course.without_schema.take().map(|(_, first)| first);
        let Rejection { status, message, .. } = first.unwrap_or(rejection);
        if !self.has_accepted.load(Relaxed) {
            let clips = self.rejected.fetch_add(1, Relaxed) + 1;
            if clips >= REJECTED_FIRST {
                let model = self.config.model.clone();
                let fault = RunFault::EveryClip { endpoint, model, clips, status, message };
                return Err(self.gate.fail(fault).into());
            }
        }
        Err(ClipFault::Rejected { endpoint, status, message }.into())
    }

    /// Whether the clip has been tried enough.
    fn fault(&self, lane: usize, course: &Course, problem: String) -> Option<ClipFault> {
        let Retries { attempts, deadline, .. } = self.config.retries;
        let spent = course.spent();
        let is_over = course.failures >= attempts
            || course.busy >= attempts.saturating_mul(PATIENCE)
            || spent >= deadline;
        is_over.then(|| {
            if course.wrong > 0 && course.wrong * 2 >= course.failures {
                let endpoint = self.servers[lane].endpoint.to_string();
                ClipFault::WrongClip {
                    endpoint,
                    attempts: course.wrong,
                    found: course.found.clone(),
                }
            } else if course.unusable == course.failures && course.unusable > 0 {
                ClipFault::BadReply { attempts: course.unusable, problem }
            } else {
                ClipFault::GaveUp { attempts: course.attempts, spent, problem }
            }
        })
    }
}
