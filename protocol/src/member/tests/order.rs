//! The order in which records come does not matter.

use proptest::prelude::*;

use super::{
    super::{Engine, Event, Incarnation, Mode, Sealed, Status, Table},
    kit::{Book, DAWN_MS, World, node_id},
};
use crate::time::Stamp;

/// All records of a small mesh's life: newcomers, words, deaths, leavings, a renewal, a revocation.
fn life(book: &mut Book) -> Vec<Sealed> {
    let mut records = Vec::new();
    for number in 1..8 {
        let operator = format!("operator {number}");
        records.push(book.cert(node_id(number), &operator, DAWN_MS));
        records.push(book.says(node_id(number), 1, Mode::Open));
    }
    records.push(book.says(node_id(2), 2, Mode::Paused));
    records.push(book.says(node_id(2), 3, Mode::Open));
    records.push(book.says(node_id(3), 2, Mode::Left));
    records.push(book.cert(node_id(4), "operator 4", DAWN_MS + 5000));
    records.push(book.revocation(node_id(5), Stamp::from_ms(DAWN_MS + 6000)));
    for (subject, incarnation) in [(6, 1), (2, 2), (7, 1)] {
        let alerts: Vec<Sealed> = [1, 4, 3]
            .iter()
            .map(|by| book.accuses(node_id(*by), node_id(subject), incarnation))
            .collect();
        let obituary = super::super::Crypto::obituary(book, &alerts);
        records.push(obituary.expect("the alerts are in the book"));
    }
    records.push(book.says(node_id(7), 2, Mode::Open));
    records
}

fn observer(world: &mut World) -> (Engine, Table) {
    let setup = world.setup(node_id(0), Incarnation::default());
    let mut table = Table::new();
    let engine = Engine::new(setup, &mut table).expect("the table is empty");
    (engine, table)
}

fn status(engine: &Engine, table: &Table, number: u32) -> Status {
    use super::super::Directory;
    let slot = table.find(&node_id(number));
    slot.map_or(Status::Unknown, |slot| engine.status(slot))
}

proptest! {
    #[test]
    fn any_order_with_any_repetition_ends_in_one_view(
        orders in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let mut world = World::new(1);
        world.now_ms = 20_000;
        let records = life(&mut world.book);
        let mut book = world.book.clone();
        let now = world.now();
        let (mut straight, mut table) = observer(&mut world);
        let own = book.cert(node_id(0), "operator 0", DAWN_MS);
        let mut out = Vec::new();
        let told = Event::Records([vec![own.clone()], records.clone()].concat());
        straight.handle((&mut table, &mut book), now, told, &mut out);

        let (mut mixed, mut mixed_table) = observer(&mut world);
        let told = Event::Records(vec![own]);
        mixed.handle((&mut mixed_table, &mut book), now, told, &mut out);
        for index in &orders {
            let told = Event::Records(vec![index.get(&records).clone()]);
            mixed.handle((&mut mixed_table, &mut book), now, told, &mut out);
        }
        // What came too early to be judged comes again by comparison, as often as it must.
        for _ in 0..3 {
            for record in records.iter().rev() {
                let told = Event::Records(vec![record.clone()]);
                mixed.handle((&mut mixed_table, &mut book), now, told, &mut out);
            }
        }
        prop_assert_eq!(straight.standing().view, mixed.standing().view);
        for number in 0..8 {
            prop_assert_eq!(
                status(&straight, &table, number),
                status(&mixed, &mixed_table, number)
            );
        }
        let expected = [
            Status::Live, Status::Live, Status::Live, Status::Left,
            Status::Live, Status::Revoked, Status::Dead, Status::Live,
        ];
        for (number, expected) in (0..).zip(expected) {
            prop_assert_eq!(status(&mixed, &mixed_table, number), expected);
        }
    }
}
