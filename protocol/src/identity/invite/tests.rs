use proptest::prelude::*;

use super::*;
use crate::identity::Key;

fn founder() -> NodeId {
    Key::from_secret(&[1; 32]).node()
}

fn invite(addresses: &[&str]) -> Invite {
    Invite {
        founder: FounderHint::of(founder()),
        addresses: addresses.iter().map(|text| (*text).to_owned()).collect(),
        seed: [7; 16],
        expires: Stamp::from_ms(1_700_000_000_000),
    }
}

const HOST: [&str; 2] = ["/ip4/192.0.2.1/tcp/4100", "/ip4/192.0.2.1/udp/4100/quic-v1"];

#[test]
fn a_token_of_one_host_is_69_characters() {
    let text = invite(&HOST).to_string();
    assert_eq!(text.len(), 69, "{text}");
    assert!(text.chars().all(|c| c.is_ascii_alphanumeric()), "{text}");
    assert_eq!(text.parse(), Ok(invite(&HOST)));
}

#[test]
fn golden_token_is_read_for_ever() {
    let text = invite(&HOST).to_string();
    let golden = "cvn12WdekwVNKymCqYmrpgibbkngt68oJE7n8Unskp4YqZqAmcvwRgvqyCgZ6sV4hBbs9";
    assert_eq!(text, golden);
}

#[test]
fn line_breaks_of_mail_do_no_harm() {
    let text = invite(&HOST).to_string();
    let (one, two) = text.split_at(40);
    assert_eq!(format!("  {one}\r\n  {two}\n").parse(), Ok(invite(&HOST)));
}

#[test]
fn every_cut_and_every_changed_character_is_noticed() {
    let text = invite(&HOST).to_string();
    for end in PREFIX.len()..text.len() {
        let refused = text[..end].parse::<Invite>();
        assert_eq!(refused, Err(ParseInviteError::Damaged), "cut at {end}");
        let refused = text[end..].parse::<Invite>();
        assert_eq!(refused, Err(ParseInviteError::Foreign), "begun at {end}");
    }
    for at in PREFIX.len()..text.len() {
        let other = if &text[at..=at] == "2" { "3" } else { "2" };
        let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        let refused = changed.parse::<Invite>();
        assert_eq!(refused, Err(ParseInviteError::Damaged), "changed at {at}");
    }
}

#[test]
fn what_is_no_token_is_told_apart() {
    let long = "1".repeat(TOKEN_CHARS_MAX + 1);
    for (text, wanted) in [
        ("", ParseInviteError::Foreign),
        ("hello", ParseInviteError::Foreign),
        ("caravan-invite-2s3amk6i7doxpfz", ParseInviteError::Old),
        ("cvn1", ParseInviteError::Damaged),
        ("cvn1abc0", ParseInviteError::Character('0')),
        ("cvn1abc…", ParseInviteError::Character('…')),
        (&format!("cvn1{long}"), ParseInviteError::TooLong),
        (&long.repeat(10), ParseInviteError::TooLong),
    ] {
        assert_eq!(text.parse::<Invite>(), Err(wanted), "{text:?}");
    }
}

#[test]
fn a_whole_token_of_unknown_make_is_another_versions() {
    let mut bytes = vec![1, 2, 3];
    bytes.extend(sum(&bytes));
    let short = format!("{PREFIX}{}", base58::encode(&bytes));
    assert_eq!(short.parse::<Invite>(), Err(ParseInviteError::Version));
    let mut bytes = vec![1; FIXED_BYTES];
    bytes.push(0xff);
    bytes.extend(sum(&bytes));
    let tag = format!("{PREFIX}{}", base58::encode(&bytes));
    assert_eq!(tag.parse::<Invite>(), Err(ParseInviteError::Version));
}

#[test]
fn only_the_founder_is_recognised() {
    let hint = FounderHint::of(founder());
    assert!(hint.is(founder()));
    assert!(!hint.is(Key::from_secret(&[2; 32]).node()));
}

#[test]
fn what_is_printed_for_logs_holds_no_secret() {
    let shown = format!("{:?}", invite(&HOST));
    assert!(
        !shown.contains("seed") && !shown.contains("7, 7"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(cvn1)?[1-9A-Za-z]{0,90}") {
        let _ = text.parse::<Invite>();
    }

    #[test]
    fn any_bytes_with_a_good_sum_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
        bytes.extend(sum(&bytes));
        if let Ok(invite) = Invite::decode(&bytes) {
            prop_assert_eq!(invite.to_string().parse::<Invite>().map(|it| it.id()), Ok(invite.id()));
        }
    }

    #[test]
    fn every_invite_comes_back(seed in any::<[u8; 16]>(), hosts in proptest::collection::vec(any::<([u8; 4], u16)>(), 0..4), seconds in any::<u32>()) {
        let addresses = hosts.iter().flat_map(|(ip, port)| {
            let ip = std::net::Ipv4Addr::from(*ip);
            [format!("/ip4/{ip}/tcp/{port}"), format!("/ip4/{ip}/udp/{port}/quic-v1")]
        });
        let mut addresses: Vec<String> = addresses.collect();
        addresses.dedup();
        let invite = Invite { addresses, seed, expires: Stamp::from_ms(u64::from(seconds) * 1000), ..invite(&[]) };
        let mut back = invite.to_string().parse::<Invite>().expect("our own token");
        let mut wanted = invite;
        back.addresses.sort();
        wanted.addresses.sort();
        wanted.addresses.dedup();
        prop_assert_eq!(back, wanted);
    }
}
