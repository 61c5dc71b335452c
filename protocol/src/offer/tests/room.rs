//! What a node has for jobs is processors and memory.

use super::*;

const GIB: u64 = 1 << 30;

/// Four cores and sixteen gigabytes.
fn four() -> Bench {
    let mut bench = bench(4);
    bench.engine.most = Limits::ALL;
    bench.engine.lent = Limits::ALL;
    bench.on(Event::Capacity(Resources {
        cpu_millis: 4000,
        memory_bytes: 16 * GIB,
    }));
    bench
}

fn with_memory(name: u8, gib: u64) -> Event {
    let needs = Limits {
        memory_bytes: gib * GIB,
        ..Limits::default()
    };
    Event::Want(Want {
        needs,
        remote_ok: false,
        ..wanted(name)
    })
}

fn runs(bench: &Bench) -> Vec<u8> {
    let running = bench.engine.running();
    running
        .map(|attempt| attempt.job.action().as_bytes()[0])
        .collect()
}

fn end(bench: &mut Bench, name: u8) {
    bench.finish(own(name, 1), Verdict::Pass);
}

#[test]
fn usual_jobs_take_a_core_and_its_share_of_memory() {
    let mut bench = four();
    (1..=6).for_each(|name| _ = bench.want(name));
    assert_eq!(runs(&bench), [1, 2, 3, 4]);
    assert_eq!(bench.engine.free(), 0);
}

#[test]
fn a_job_that_declares_its_memory_takes_that() {
    let mut bench = four();
    bench.on(with_memory(1, 10));
    bench.on(with_memory(2, 5));
    bench.want(3);
    assert_eq!(
        runs(&bench),
        [1, 2],
        "a gigabyte is left, less than a share"
    );
    bench.on(with_memory(4, 1));
    assert_eq!(runs(&bench), [1, 2, 4], "what fits runs");
    end(&mut bench, 2);
    assert_eq!(runs(&bench), [1, 3, 4]);
    // Small ones are still bound by cores.
    bench.on(with_memory(5, 0));
    bench.on(with_memory(6, 0));
    assert_eq!(runs(&bench), [1, 3, 4, 5]);
}

#[test]
fn what_takes_more_than_there_is_runs_alone() {
    let mut bench = four();
    bench.on(with_memory(1, 64));
    bench.on(with_memory(2, 1));
    assert_eq!(runs(&bench), [1]);
    end(&mut bench, 1);
    assert_eq!(runs(&bench), [2]);
}

#[test]
fn less_room_stops_nothing_and_more_starts_what_waits() {
    let mut bench = four();
    (1..=6).for_each(|name| _ = bench.want(name));
    bench.on(Event::Slots(1));
    end(&mut bench, 1);
    assert_eq!(runs(&bench), [2, 3, 4]);
    bench.on(Event::Slots(5));
    assert_eq!(runs(&bench), [2, 3, 4, 5, 6]);
}

#[test]
fn small_jobs_do_not_keep_a_large_one_waiting_for_ever() {
    let mut bench = four();
    (1..=4).for_each(|name| _ = bench.on(with_memory(name, 4)));
    bench.on(with_memory(100, 12));
    // A stream of small ones: whenever one ends, another is there.
    let mut small = 5;
    let mut ran = Vec::new();
    for _ in 0..30 {
        bench.on(with_memory(small, 4));
        small += 1;
        bench.after(5000);
        let first = runs(&bench)[0];
        end(&mut bench, first);
        ran = runs(&bench);
        if ran.contains(&100) {
            break;
        }
    }
    assert!(ran.contains(&100), "it never ran: {ran:?}");
    assert!(
        bench.now >= Time::from_ms(limits::LARGE_WAIT_MS),
        "it was kept room at once"
    );
    assert!(small < 30, "{small} small ones went before it");
}

#[test]
fn room_that_is_held_back_is_not_bid_with() {
    let mut bench = four();
    bench.up(2);
    (1..=4).for_each(|name| _ = bench.on(with_memory(name, 4)));
    bench.on(with_memory(100, 12));
    bench.after(limits::LARGE_WAIT_MS);
    end(&mut bench, 1);
    end(&mut bench, 2);
    assert_eq!(bench.engine.free(), 0, "eight of twelve gigabytes are free");
    assert!(
        !bench
            .on(heard(2, 1, &[50]))
            .iter()
            .any(|command| matches!(command, Command::Send { .. }))
    );
    end(&mut bench, 3);
    assert_eq!(runs(&bench), [4, 100]);
}

#[test]
fn an_award_of_more_than_is_free_is_refused() {
    let mut bench = four();
    bench.up(2);
    bench.on(heard(2, 1, &[50]));
    (1..=2).for_each(|name| _ = bench.on(with_memory(name, 6)));
    let Message::Award {
        nonce,
        job,
        number,
        lease_ms,
        action,
        holders,
        role,
        ..
    } = award(NONCE, 50, 1)
    else {
        unreachable!("an award");
    };
    let large = Message::Award {
        nonce,
        job,
        number,
        lease_ms,
        needs: Limits {
            memory_bytes: 5 * GIB,
            ..Limits::default()
        },
        action,
        holders,
        role,
    };
    assert_eq!(bench.hear(2, large), [send(2, refuse(50, 1))]);
}
