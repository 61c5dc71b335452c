//! Attempts whose node beats all the time and which do not move.

use super::*;

/// Job 7 is in the hands of node 2; node 3 is up too.
fn placed_there() -> Bench {
    let mut bench = bench(0);
    bench.up(2);
    bench.up(3);
    bench.want(7);
    bench.hear(2, bid(5, 7, 5000));
    bench.after(limits::BID_MS);
    assert!(matches!(bench.standing(7), Some(Standing::There { node: at, .. }) if at == node(2)));
    bench
}

fn at(phase: Phase) -> Message {
    let (job, number) = (job(7), 1);
    Message::Beat {
        attempts: vec![Progress { job, number, phase }],
    }
}

/// How long that node beats with this before the job is taken from it.
fn lasts_ms(bench: &mut Bench, mut phase: impl FnMut(u64) -> Phase) -> u64 {
    let began = bench.now;
    for round in 0.. {
        bench.after(limits::BEAT_MS);
        let out = bench.hear(2, at(phase(round)));
        if out.contains(&lost(7, 1, 2, Loss::Stuck)) {
            assert_eq!(out[0], send(2, cancel(7, 1)));
            break;
        }
        assert!(
            bench.now.since(began) < Duration::from_secs(7200),
            "for ever"
        );
    }
    u64::try_from(bench.now.since(began).as_millis()).expect("short")
}

#[test]
fn each_phase_has_its_patience() {
    let running = |cpu_ms| Phase::Running {
        log_bytes: 9,
        cpu_ms,
    };
    for (phase, ms) in [
        (Phase::FIRST, limits::STILL_FETCHING_MS),
        (running(3), limits::STILL_RUNNING_MS),
        (Phase::Keeping, limits::STILL_KEEPING_MS),
    ] {
        let lasted = lasts_ms(&mut placed_there(), |_| phase);
        assert!(
            (ms..=ms + 2 * limits::BEAT_MS).contains(&lasted),
            "{phase:?}: {lasted}"
        );
    }
}

#[test]
fn what_is_thought_to_take_long_may_be_still_for_longer() {
    let phase = Phase::Running {
        log_bytes: 0,
        cpu_ms: 0,
    };
    assert_eq!(phase.patience_ms(1000), limits::STILL_RUNNING_MS);
    assert_eq!(phase.patience_ms(3_600_000), 3 * 3_600_000);
}

#[test]
fn whatever_moves_keeps_the_job() {
    let mut bench = placed_there();
    // Bytes for twenty minutes, then processor time without a word for as long, then a word.
    for round in 1..=360 {
        bench.after(limits::BEAT_MS);
        let phase = match round {
            ..=120 => Phase::Fetching { bytes: round },
            121..=240 => Phase::Running {
                log_bytes: 0,
                cpu_ms: round,
            },
            _ => Phase::Running {
                log_bytes: round / 20,
                cpu_ms: 240,
            },
        };
        let out = bench.hear(2, at(phase));
        assert!(out.contains(&send(2, renew(&[(7, 1)]))), "{round}: {out:?}");
    }
}

#[test]
fn going_back_and_forth_is_no_movement() {
    let mut bench = placed_there();
    bench.hear(2, at(Phase::Keeping));
    let lasted = lasts_ms(&mut bench, |round| match round % 3 {
        0 => Phase::Fetching { bytes: round },
        1 => Phase::Running {
            log_bytes: round,
            cpu_ms: round,
        },
        _ => Phase::Keeping,
    });
    assert!(lasted <= limits::STILL_KEEPING_MS + limits::BEAT_MS);
}

#[test]
fn a_job_that_was_stuck_goes_elsewhere_and_does_not_come_back() {
    let mut bench = placed_there();
    lasts_ms(&mut bench, |_| Phase::FIRST);
    bench.hear(2, bid(8, 7, 1));
    bench.hear(3, bid(9, 7, 9000));
    bench.after(limits::BID_MS);
    let there = Standing::There {
        number: 2,
        node: node(3),
    };
    assert_eq!(bench.standing(7), Some(there));
    assert_eq!(bench.hear(2, at(Phase::Keeping)), [send(2, cancel(7, 1))]);
}
