//! How long it takes from the start of the first process until each knows all.

use std::time::Instant;

use crate::{
    Failure,
    fleet::{self, Fleet},
    sample,
};

pub(crate) fn run(fleet: &mut dyn Fleet) -> Result<(), Failure> {
    let began = Instant::now();
    fleet::start_all(fleet)?;
    let took = fleet::settled(fleet, began, |_| true)?;
    let figure = format!("join_32_vs_serf{}", fleet.kind());
    sample(&figure, fleet.side(), took.as_secs_f64());
    Ok(())
}
