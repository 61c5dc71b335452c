//! The whole corpus: nothing gets through our sandbox, every defence stops something, and most attempts
//! are seen to succeed somewhere, so that the corpus can fail. Skipped loudly where there is no root.

use std::path::Path;

use caravan_corpus::{
    attempt::Verdict,
    driver::{self, Table},
    places::Place,
    report,
};
use caravan_sandbox::{Abilities, Defence};

/// Attempts that must be seen to succeed without our sandbox; the rest a kernel may lack.
const SEEN_MIN: usize = 250;

fn driver() -> &'static Path {
    // It finds the program that runs inside beside it.
    let _ = env!("CARGO_BIN_EXE_corpus-attempts");
    Path::new(env!("CARGO_BIN_EXE_caravan-corpus"))
}

/// What the host can do, or nothing and loud words.
fn abilities(test: &str) -> Option<Abilities> {
    match caravan_sandbox::probe() {
        Ok(found) if rustix::process::geteuid().is_root() => Some(found),
        Ok(_) => {
            println!("SKIPPED: {test}: a pretend host needs root");
            None
        }
        Err(missing) => {
            println!("SKIPPED: {test}: failed to {missing}");
            None
        }
    }
}

fn there(places: &[Place]) -> Vec<Place> {
    let (there, missing): (Vec<Place>, Vec<Place>) =
        places.iter().partition(|place| place.is_there());
    for place in missing {
        println!(
            "SKIPPED: the corpus in {place}: there is no {}",
            place.needs().unwrap_or("such program")
        );
    }
    there
}

/// Every attempt of `ids` was made there, and none is through.
fn assert_none_through<'a>(table: &Table, place: Place, ids: impl Iterator<Item = &'a str>) {
    let mut count = 0;
    for id in ids {
        let verdict = table
            .verdict(place, id)
            .unwrap_or_else(|| panic!("{id} was not made"));
        assert!(!verdict.is_through(), "{id}: {verdict}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn nothing_gets_out_of_our_sandbox_and_the_same_attempts_get_out_of_others() {
    if abilities("nothing_gets_out_of_our_sandbox").is_none() {
        return;
    }
    let places = there(&[
        Place::Ours,
        Place::Bare,
        Place::Chroot,
        Place::Runc,
        Place::RuncHost,
        Place::Bubblewrap,
        Place::Only(Defence::CoveredProc),
        Place::Only(Defence::OwnRoot),
    ]);
    let table = driver::run(driver(), "attempts", &places).unwrap();
    println!("{}", report::classes(&table));
    let inside = caravan_corpus::attempts::all();
    assert_none_through(&table, Place::Ours, inside.iter().map(|attempt| attempt.id));
    println!("{}", report::never(&table));
    let seen = inside
        .iter()
        .filter(|attempt| report::is_seen(&table, attempt.id))
        .count();
    assert!(
        seen >= SEEN_MIN,
        "only {seen} were seen to succeed somewhere"
    );
}

#[test]
fn each_defence_alone_stops_an_attempt_that_succeeds_without_any() {
    let Some(found) = abilities("each_defence_alone_stops_an_attempt") else {
        return;
    };
    let can = |defence: &Defence| match defence {
        Defence::MemoryLimit => found.memory_limit,
        Defence::ProcessCountLimit => found.pids_limit,
        Defence::ProcessorLimit => found.cpu_limit,
        _ => true,
    };
    let all = Defence::ALL.iter().copied().filter(can);
    let (bounds, walls): (Vec<Defence>, Vec<Defence>) =
        all.partition(|defence| caravan_corpus::bombs::is_limit(*defence));
    let alone = |defences: Vec<Defence>| {
        let only = defences.into_iter().map(Place::Only);
        [Place::Bare].into_iter().chain(only).collect::<Vec<_>>()
    };
    let mut table = driver::run(driver(), "attempts", &alone(walls)).unwrap();
    table.join(driver::run(driver(), "bombs", &alone(bounds)).unwrap());
    println!("{}", report::defences(&table));
    for defence in Defence::ALL.iter().filter(|defence| can(defence)) {
        let stopped = report::stopped_alone(&table, *defence);
        assert!(
            !stopped.is_empty(),
            "{defence} stops nothing: no attempt would tell if it were gone"
        );
    }
}

#[test]
fn every_bomb_ends_by_its_limit_and_its_sibling_finishes() {
    let Some(found) = abilities("every_bomb_ends_by_its_limit") else {
        return;
    };
    if !(found.memory_limit && found.pids_limit && found.cpu_limit) {
        println!("SKIPPED: every_bomb_ends_by_its_limit: this host bounds no job as a whole");
        return;
    }
    let table = driver::run(driver(), "bombs", &[Place::Ours]).unwrap();
    assert_none_through(
        &table,
        Place::Ours,
        caravan_corpus::bombs::BOMBS.iter().map(|bomb| bomb.id),
    );
}

#[test]
fn nothing_that_a_step_leaves_harms_who_collects_it() {
    if abilities("nothing_that_a_step_leaves").is_none() {
        return;
    }
    let table = driver::run(driver(), "leavings", &[Place::Ours, Place::Chroot]).unwrap();
    let ids = || {
        caravan_corpus::leavings::LEAVINGS
            .iter()
            .map(|leaving| leaving.id)
    };
    assert_none_through(&table, Place::Ours, ids());
    for id in ids() {
        let verdict = table.verdict(Place::Chroot, id);
        assert!(
            verdict.is_some_and(Verdict::is_through),
            "{id} has no effect on a collector by names: {verdict:?}"
        );
    }
}

#[test]
fn no_prepared_root_leads_a_mount_out() {
    if abilities("no_prepared_root_leads_a_mount_out").is_none() {
        return;
    }
    let places = there(&[
        Place::Ours,
        Place::Bare,
        Place::Chroot,
        Place::Runc,
        Place::Bubblewrap,
    ]);
    let table = driver::run(driver(), "roots", &places).unwrap();
    println!("{}", report::classes(&table));
    let ids = || {
        caravan_corpus::places::roots::ROOTS
            .iter()
            .map(|root| root.id)
    };
    assert_none_through(&table, Place::Ours, ids());
    // Not a defence that could be off: no path of a root is ever followed.
    assert_none_through(&table, Place::Bare, ids());
    for id in ids() {
        let verdict = table.verdict(Place::Chroot, id);
        assert!(
            verdict.is_some_and(Verdict::is_through),
            "{id} leads nobody out: {verdict:?}"
        );
    }
}

#[test]
fn the_gate_leads_to_no_address_that_no_job_may_reach() {
    if abilities("the_gate_leads_to_no_address").is_none() {
        return;
    }
    let table = driver::run(driver(), "gate", &[Place::Ours, Place::Chroot]).unwrap();
    let ids = || {
        caravan_corpus::gate::REQUESTS
            .iter()
            .map(|request| request.id)
    };
    assert_none_through(&table, Place::Ours, ids());
    let open: Vec<&str> = ids()
        .filter(|id| table.is_through(Place::Chroot, id))
        .collect();
    assert!(
        open.len() * 4 >= ids().count() * 3,
        "an open proxy reaches only {open:?}"
    );
}
