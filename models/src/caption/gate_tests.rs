//! The gate, step by step.

use super::*;

fn gate(servers: usize, bounds: Bounds) -> Gate {
    Gate::new((0..servers).map(|index| format!("server {index}")).collect(), bounds)
}

/// Passes at once, or not.
fn pass(gate: &Gate, bytes: usize) -> Option<Permit<'_>> {
    let now = Instant::now();
    match gate.step(bytes, now) {
        Ok(Step::Go(lane)) => Some(Permit { gate, lane, bytes, sent: now, told: false }),
        Ok(Step::Wait(_)) => None,
        Err(fault) => panic!("{fault}"),
    }
}

#[test]
fn the_bounds_hold_and_a_larger_request_passes_alone() {
    let gate = gate(1, Bounds { requests: 3, bytes: 100, start: 10, ..Bounds::default() });
    let first = pass(&gate, 40).unwrap();
    let second = pass(&gate, 60).unwrap();
    assert!(pass(&gate, 1).is_none(), "bytes");
    drop(first);
    let more = (pass(&gate, 20).unwrap(), pass(&gate, 20).unwrap());
    assert!(pass(&gate, 0).is_none(), "requests");
    drop((second, more));
    let large = pass(&gate, 1000).unwrap();
    assert!(pass(&gate, 0).is_none());
    drop(large);
    assert!(pass(&gate, 1).is_some());
}

#[test]
fn the_bound_on_requests_is_for_all_servers_together() {
    let gate = gate(3, Bounds { requests: 4, start: 4, ..Bounds::default() });
    let under_way: Vec<_> = (0..4).map(|_| pass(&gate, 1).unwrap()).collect();
    assert!(pass(&gate, 1).is_none());
    drop(under_way);
    assert!(pass(&gate, 1).is_some());
}

#[test]
fn requests_are_spread_and_a_failed_server_is_left_alone() {
    let gate = gate(2, Bounds { rest: Duration::from_secs(3600), ..Bounds::default() });
    let lanes: Vec<_> = (0..4).map(|_| pass(&gate, 1).unwrap()).collect();
    assert_eq!(lanes.iter().map(|permit| permit.lane).collect::<Vec<_>>(), [0, 1, 0, 1]);
    drop(lanes);
    let mut failed = 0;
    while failed < 5 {
        let permit = pass(&gate, 1).unwrap();
        let lesson = if permit.lane == 0 { Lesson::Failed(None) } else { Lesson::Good };
        failed += usize::from(permit.lane == 0);
        permit.learn(lesson, "down");
    }
    for _ in 0..10 {
        assert_eq!(pass(&gate, 1).unwrap().lane, 1);
    }
    assert_eq!(gate.lanes().iter().map(|lane| lane.1).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_server_that_asks_us_to_wait_is_not_asked() {
    let gate = gate(1, Bounds::default());
    pass(&gate, 1).unwrap().learn(Lesson::Busy(Some(Duration::from_secs(3600))), "busy");
    assert!(pass(&gate, 1).is_none());
    let Ok(Step::Wait(Some(until))) = gate.step(1, Instant::now()) else { panic!("no wait") };
    // It would give up before the hour is over.
    assert!(until <= Instant::now() + Duration::from_secs(300));
}

#[test]
fn time_without_an_answer_ends_the_run_but_not_time_without_a_question() {
    let second = Duration::from_secs(1);
    let gate = gate(1, Bounds { give_up: 5 * second, ..Bounds::default() });
    let presence = gate.attend();
    pass(&gate, 1).unwrap().learn(Lesson::Failed(None), "connection refused");
    drop(presence);
    // As if nobody had asked for twice as long.
    gate.state().idle_since = Instant::now().checked_sub(10 * second);
    let _presence = gate.attend();
    let now = Instant::now();
    assert!(gate.step(1, now + 10 * second).is_ok());
    let fault = gate.step(1, now + 20 * second).err().unwrap();
    assert!(fault.to_string().contains("connection refused"), "{fault}");
    assert_eq!(gate.fault(), Some(fault));
}

#[test]
fn a_fault_of_the_run_is_everyones() {
    let gate = gate(1, Bounds::default());
    let fault = RunFault::Account {
        endpoint: "here".to_owned(),
        status: 402,
        message: "no money".to_owned(),
    };
    assert_eq!(gate.fail(fault.clone()), fault);
    assert_eq!(gate.step(1, Instant::now()).err(), Some(fault));
}
