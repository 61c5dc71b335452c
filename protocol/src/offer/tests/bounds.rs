//! Jobs that ask for more than some node allows.

use super::*;
use crate::action::Bound;

const MORE: u64 = 64 << 30;

fn large() -> Limits {
    Limits {
        memory_bytes: MORE,
        ..Limits::default()
    }
}

fn large_want(name: u8, remote_ok: bool) -> Event {
    Event::Want(Want {
        remote_ok,
        needs: large(),
        ..wanted(name)
    })
}

fn too_much() -> TooMuch {
    TooMuch {
        bound: Bound::Memory,
        asked: MORE,
        most: 8 << 30,
    }
}

fn large_bid(nonce: u64, name: u8) -> Message {
    Message::Bid {
        nonce,
        job: job(name),
        eta_ms: 1,
        most: large(),
        wait_ms: 0,
        offered: false,
    }
}

#[test]
fn more_than_this_node_allows_is_refused_with_the_bound_named() {
    let mut bench = bench(2);
    let refused = |remote_ok| {
        let out = [Command::GaveUp {
            job: job(1),
            reason: GaveUp::TooMuch(too_much()),
        }];
        (large_want(1, remote_ok), out)
    };
    for remote_ok in [true, false] {
        let (event, out) = refused(remote_ok);
        assert_eq!(bench.on(event), out, "nobody else is there");
    }
    bench.up(2);
    let (event, out) = refused(false);
    assert_eq!(bench.on(event), out, "it may not leave this node");
    assert_eq!(
        GaveUp::TooMuch(too_much()).to_string(),
        "it asks for 64 GiB of memory and this node allows 8 GiB of memory"
    );
}

#[test]
fn it_waits_for_a_node_that_allows_it_and_says_so() {
    let mut bench = bench(2);
    bench.up(2);
    bench.up(3);
    let out = bench.on(large_want(1, true));
    assert!(
        out.contains(&waiting(1, Missing::Room(too_much()))),
        "{out:?}"
    );
    assert_eq!(
        bench.standing(1),
        Some(Standing::Waiting),
        "no slot here is for it"
    );
    // Whoever allows too little gets other work, or a no.
    let decline = Message::Decline { nonce: 5 };
    assert_eq!(bench.hear(2, bid(5, 1, 1)), [send(2, decline)]);
    bench.want(2);
    assert_eq!(
        bench.standing(2),
        Some(Standing::Here { number: 1 }),
        "what fits runs"
    );
    bench.hear(3, large_bid(6, 1));
    bench.after(limits::BID_MS);
    let there = Standing::There {
        number: 1,
        node: node(3),
    };
    assert_eq!(bench.standing(1), Some(there));
}

#[test]
fn a_bidder_is_given_nothing_that_it_does_not_allow() {
    let mut bench = bench(0);
    bench.up(2);
    bench.on(large_want(1, true));
    bench.want(2);
    // It bids for the second; the first, which waits longer, is not for it.
    bench.hear(2, bid(5, 2, 1));
    bench.after(limits::BID_MS);
    assert_eq!(bench.standing(1), Some(Standing::Waiting));
    let there = Standing::There {
        number: 1,
        node: node(2),
    };
    assert_eq!(bench.standing(2), Some(there));
    assert_eq!(
        bench.hear(2, bid(6, 2, 1)),
        [send(2, Message::Decline { nonce: 6 })]
    );
}

#[test]
fn nobody_bids_for_what_it_does_not_allow() {
    let mut bench = bench(1);
    bench.up(2);
    let head = Head {
        needs: large(),
        ..head(1, 1_000_000)
    };
    let offered = |jobs| Event::Heard {
        from: node(2),
        platform: x86(),
        digest: Digest {
            owner: node(2),
            seq: 1,
            jobs,
        },
    };
    assert_eq!(bench.on(offered(vec![head])), []);
}
