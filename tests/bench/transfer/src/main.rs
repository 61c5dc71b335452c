//! Measures how blobs get from node to node. Each line on standard output is a sample: figure, side,
//! number. What nodes fetch is held in memory, so that no disk is measured.
//!
//! ```text
//! caravan-bench-transfer spread MIB NODES LIARS [MBIT]   one blob from one node to all others
//! caravan-bench-transfer one MIB                          one blob from one node to one other
//! caravan-bench-transfer small FILES BYTES                many small blobs in one go
//! ```

use std::{error::Error, process::ExitCode, sync::Arc, time::Instant};

use caravan_mesh::{Wanted, rogue::bulk::Lie};
use caravan_protocol::ids::BlobId;

use crate::{
    lan::Lan,
    node::{Kit, Member},
    stock::{Stock, noise},
};

mod lan;
mod node;
mod stock;

type Failure = Box<dyn Error + Send + Sync>;

const MIB: usize = 1024 * 1024;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["spread", mib, nodes, liars, rate @ ..] => spread(mib, nodes, liars, rate.first()),
        ["one", mib] => one(mib),
        ["small", files, bytes] => small(files, bytes),
        _ => Err("there is no such measurement; see the head of tests/bench/transfer".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("caravan-bench-transfer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One sample.
fn tell(figure: &str, side: &str, number: f64) {
    println!("{figure}\t{side}\t{number:.6}");
}

/// All others than one.
fn others(all: &[Member], one: usize) -> Vec<caravan_protocol::ids::NodeId> {
    let others = all.iter().enumerate().filter(|(at, _)| *at != one);
    others.map(|(_, member)| member.id).collect()
}

fn spread(mib: &str, nodes: &str, liars: &str, rate: Option<&&str>) -> Result<(), Failure> {
    let (size, nodes, liars) = (mib.parse::<usize>()? * MIB, nodes.parse()?, liars.parse()?);
    let rate: Option<u32> = rate.map(|rate| rate.parse()).transpose()?;
    let bytes = noise(1, size);
    let id = BlobId::of(&bytes);
    let stock = Stock::of([bytes.clone()])?;
    let lan = rate.map(|rate| Lan::new(nodes, rate)).transpose()?;
    let kit = Kit::new();
    let mut all: Vec<Member> = Vec::new();
    for at in 0..nodes {
        let seed = all.first().map(|first| first.address.clone());
        let lie = (at >= nodes - liars).then_some((Lie::Group, bytes.clone()));
        let own = if at == 0 {
            stock.clone()
        } else {
            Stock::empty()
        };
        all.push(kit.start(lan.as_ref(), at, own, seed, lie)?);
    }
    for member in &all {
        member.meets(nodes)?;
    }
    let began = Instant::now();
    let honest = nodes - liars;
    let running: Vec<_> = (1..honest)
        .map(|at| all[at].fetch(others(&all, at), vec![Wanted::exactly(id, size as u64)]))
        .collect();
    for fetched in running {
        let fetched = fetched.join().map_err(|_| "a fetch died")??;
        if !fetched.missing.is_empty() {
            return Err(format!("not all came: {fetched:?}").into());
        }
    }
    let took = began.elapsed().as_secs_f64();
    let given = all[0].handle.counters().bulk_out_bytes as f64;
    let name = match (rate, liars) {
        (None, _) => "spread_unshaped",
        (_, 0) => "spread_vs_bound",
        _ => "spread_with_liars_vs_bound",
    };
    tell(name, "ours", took);
    if let Some(rate) = rate {
        // What the source's own link allows: nobody has all before it has left there once.
        tell(name, "theirs", size as f64 * 8.0 / (f64::from(rate) * 1e6));
    }
    let egress = if liars == 0 {
        "seed_egress"
    } else {
        "seed_egress_with_liars"
    };
    tell(egress, "ours", given / MIB as f64);
    tell(egress, "theirs", size as f64 / MIB as f64);
    Ok(())
}

fn one(mib: &str) -> Result<(), Failure> {
    let size = mib.parse::<usize>()? * MIB;
    let bytes = noise(1, size);
    let id = BlobId::of(&bytes);
    let kit = Kit::new();
    let from = kit.start(None, 0, Stock::of([bytes])?, None, None)?;
    let to = kit.start(None, 1, Stock::empty(), Some(from.address.clone()), None)?;
    to.meets(2)?;
    let began = Instant::now();
    let wanted = vec![Wanted::exactly(id, size as u64)];
    let fetched = to
        .fetch(vec![from.id], wanted)
        .join()
        .map_err(|_| "a fetch died")??;
    let took = began.elapsed().as_secs_f64();
    if !fetched.missing.is_empty() {
        return Err(format!("not all came: {fetched:?}").into());
    }
    tell("one_to_one", "ours", took);
    Ok(())
}

fn small(files: &str, bytes: &str) -> Result<(), Failure> {
    let (files, bytes): (u64, usize) = (files.parse()?, bytes.parse()?);
    let stock = Stock::of((0..files).map(|n| noise(n + 1, bytes)))?;
    let wanted = stock.wanted();
    let kit = Kit::new();
    let from = kit.start(None, 0, Arc::clone(&stock), None, None)?;
    let to = kit.start(None, 1, Stock::empty(), Some(from.address.clone()), None)?;
    to.meets(2)?;
    let began = Instant::now();
    let fetched = to
        .fetch(vec![from.id], wanted)
        .join()
        .map_err(|_| "a fetch died")??;
    let took = began.elapsed().as_secs_f64();
    if fetched.blobs != files {
        return Err(format!("not all came: {:?}", fetched.failures).into());
    }
    let moved = to.handle.counters().bulk_wire_bytes as f64;
    let all = files as f64 * bytes as f64;
    tell("small_files_bytes", "ours", moved / MIB as f64);
    tell("small_files_bytes", "theirs", all / MIB as f64);
    tell("small_files", "ours", took);
    Ok(())
}
