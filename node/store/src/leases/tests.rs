use super::*;

fn small() -> Arc<Guards> {
    Arc::new(Guards {
        bounds: Bounds {
            touched: 2,
            found: 2,
            gone: 2,
        },
        ..Guards::default()
    })
}

fn blob(n: u8) -> BlobId {
    BlobId::of(&[n])
}

fn keys(from: u8, to: u8) -> Vec<Key> {
    (from..to).map(|n| Key::plain(blob(n))).collect()
}

#[test]
fn a_hold_that_keeps_too_much_to_name_it_keeps_everything_until_it_ends() {
    let guards = small();
    let hold = guards.hold();
    for n in 0..3 {
        guards.found_whole(blob(n).into());
    }
    assert!(guards.keeps_all() && guards.is_guarded(blob(77)));
    assert!(guards.begin_sweep(&mut || false));
    let mut some = keys(100, 101);
    guards.condemn(&mut some);
    assert!(some.is_empty());
    assert!(!guards.condemn_packs(&[blob(1)], &[]));
    drop(hold);
    assert!(!guards.keeps_all() && !guards.is_guarded(blob(0)));
    let mut some = keys(100, 101);
    guards.condemn(&mut some);
    assert_eq!(some, keys(100, 101));
}

#[test]
fn what_is_found_beyond_the_bound_ends_a_sweep_and_not_the_next() {
    let guards = small();
    assert!(guards.begin_sweep(&mut || false));
    for n in 0..3 {
        assert!(guards.found(blob(n)));
    }
    let mut some = keys(100, 101);
    guards.condemn(&mut some);
    assert!(some.is_empty() && guards.is_overfull());
    guards.end_sweep();
    assert!(guards.begin_sweep(&mut || false));
    let mut many = keys(100, 103);
    guards.condemn(&mut many);
    assert!(many.is_empty(), "more than is remembered as gone");
    guards.end_sweep();
    assert!(guards.begin_sweep(&mut || false));
    let mut few = keys(100, 102);
    guards.condemn(&mut few);
    assert_eq!(few.len(), 2);
    assert!(!guards.found(blob(100)) && guards.found(blob(200)));
}

#[test]
fn a_pack_that_is_found_or_leased_is_not_condemned_and_a_condemned_one_is_not_found() {
    let guards = small();
    assert!(!guards.condemn_packs(&[blob(1)], &[]), "there is no sweep");
    assert!(guards.begin_sweep(&mut || false));
    assert!(guards.found_pack(blob(1)));
    assert!(!guards.condemn_packs(&[blob(1), blob(2)], &[]));
    guards.take(blob(3));
    assert!(!guards.condemn_packs(&[blob(2)], &[blob(3)]));
    assert!(guards.condemn_packs(&[blob(2)], &[blob(4)]));
    assert!(!guards.found_pack(blob(2)));
    guards.reprieve_packs(&[blob(2)]);
    assert!(guards.found_pack(blob(2)));
}
