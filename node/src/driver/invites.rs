//! Invites: made, listed and withdrawn on the founding node, which alone signs members. What is
//! kept of one is the hash of its secret, so a copy of this node's disk admits nobody.

use std::{net::IpAddr, time::Duration};

use caravan_mesh::check_address;
use caravan_protocol::{
    identity::{
        Tier,
        invite::{self, FounderHint, Invite, Invited},
    },
    ids::{BlobId, NodeId},
    limits,
    time::Stamp,
};

use super::Driver;
use crate::{
    build::chain,
    clock, home,
    invites::{InviteAsk, InviteView, check_operator},
};

/// Shortest life of an invite.
const LIFE_MS_MIN: u64 = 60_000;
/// Invites that may be open at once.
const OPEN_MAX: usize = 1000;
/// How long an expired invite is kept, so that its bearer is told so.
const KEPT_MS: u64 = 7 * 24 * 3_600_000;
/// Hosts that an invite names by itself: a token is copied by people.
const HOSTS_MAX: usize = 3;

/// The addresses by which another machine may reach this one: loopback only where there is nothing
/// else, nothing that is good on one link only, and without the node's key, which the invite hints at.
fn worth_telling(addresses: Vec<String>) -> Vec<String> {
    let mut found: Vec<(u8, IpAddr, String)> = Vec::new();
    for address in addresses {
        let bare = address
            .split_once("/p2p/")
            .map_or(address.as_str(), |(bare, _)| bare);
        let ip = bare.split('/').nth(2).and_then(|ip| ip.parse().ok());
        let (Some(ip), false) = (ip, address.contains("/p2p-circuit")) else {
            continue;
        };
        if let Some(rank) = rank(ip) {
            found.push((rank, ip, bare.to_owned()));
        }
    }
    found.sort();
    found.dedup();
    let best = found.first().map_or(LOOPBACK, |(rank, _, _)| *rank);
    found.retain(|(rank, _, _)| best == LOOPBACK || *rank != LOOPBACK);
    let mut hosts: Vec<IpAddr> = found.iter().map(|(_, ip, _)| *ip).collect();
    hosts.dedup();
    hosts.truncate(HOSTS_MAX);
    found.retain(|(_, ip, _)| hosts.contains(ip));
    let mut told: Vec<String> = found.into_iter().map(|(_, _, text)| text).collect();
    told.truncate(invite::ADDRESSES_MAX);
    told
}

const LOOPBACK: u8 = 9;

/// From where an address can be reached: the lower, the farther. None if it needs the name of a link.
fn rank(ip: IpAddr) -> Option<u8> {
    match ip {
        _ if ip.is_loopback() => Some(LOOPBACK),
        _ if ip.is_unspecified() => None,
        IpAddr::V4(ip) if ip.is_link_local() => None,
        IpAddr::V4(ip) => Some(u8::from(ip.is_private())),
        IpAddr::V6(ip) => match ip.segments()[0] {
            first if first & 0xffc0 == 0xfe80 => None,
            first if first & 0xfe00 == 0xfc00 => Some(3),
            _ => Some(2),
        },
    }
}

impl Driver {
    /// Makes a token that admits one node.
    pub(crate) fn invite(&mut self, ask: InviteAsk) -> Result<String, String> {
        self.may_invite()?;
        check(&ask)?;
        self.forget_old_invites()?;
        let addresses = self.addresses_for(ask.addresses)?;
        let home = &self.shared.home;
        let mut invite = Invite {
            founder: FounderHint::of(home.key.node()),
            addresses,
            seed: home::random::<16>().map_err(|error| chain(&error))?,
            expires: clock::stamp().after(Duration::from_millis(ask.life_ms)),
        };
        // A token says it to the second.
        invite.expires = Stamp::from_ms(invite.expires.as_ms() / 1000 * 1000);
        let invited = Invited {
            operator: ask.operator,
            tier: ask.tier,
            expires: invite.expires,
        };
        home.save("invite", &invite.id().to_string(), &invited)
            .map_err(|error| chain(&error))?;
        Ok(invite.to_string())
    }

    /// All invites that are open, have been used, or have expired of late.
    pub(crate) fn invites(&self) -> Result<Vec<InviteView>, String> {
        self.may_invite()?;
        let mut views = Vec::new();
        for (id, invited) in self.open_invites()? {
            views.push(InviteView {
                id,
                operator: invited.operator,
                tier: Some(invited.tier),
                expires: Some(invited.expires),
                used_by: None,
            });
        }
        views.sort_by_key(|view| view.expires);
        let store = &self.shared.home.store;
        let used = store.records("used").map_err(|error| chain(&error))?;
        for (id, _) in used {
            let Ok(Some(user)) = self.shared.home.load::<NodeId>("used", &id) else {
                continue;
            };
            let cert = self.membership.roster.vouches(user);
            views.push(InviteView {
                id,
                operator: cert.map(|cert| cert.operator.clone()).unwrap_or_default(),
                tier: cert.map(|cert| cert.tier),
                expires: None,
                used_by: Some(user),
            });
        }
        Ok(views)
    }

    /// Takes back an invite that nobody has used: by the first digits of its id, or by the token.
    pub(crate) fn withdraw(&mut self, what: &str) -> Result<(), String> {
        self.may_invite()?;
        let prefix = match what.parse::<Invite>() {
            Ok(token) => token.id().to_string(),
            Err(_) => what.to_owned(),
        };
        let found = self.open_invites()?;
        let mut found = found.iter().filter(|(id, _)| id.starts_with(&prefix));
        let name = match (found.next(), found.next()) {
            (Some((id, _)), None) => id,
            (Some(_), Some(_)) => {
                return Err(format!(
                    "withdraw the invite {what}: several begin so; give more digits"
                ));
            }
            (None, _) => {
                return Err(format!(
                    "withdraw the invite {what}: none that is still open begins so; a node that has \
                     used one is struck out with `caravan node revoke`"
                ));
            }
        };
        let store = &self.shared.home.store;
        store
            .remove_record("invite", name)
            .map_err(|error| chain(&error))
    }

    fn may_invite(&self) -> Result<(), String> {
        if self.membership.roster.genesis().founder == self.shared.home.key.node() {
            return Ok(());
        }
        Err("make the invite on the founding node: only its key signs members".to_owned())
    }

    fn open_invites(&self) -> Result<Vec<(String, Invited)>, String> {
        let home = &self.shared.home;
        let kept = home
            .store
            .records("invite")
            .map_err(|error| chain(&error))?;
        let named = kept.into_iter().filter_map(|(id, _)| {
            id.parse::<BlobId>().ok()?;
            let invited = home.load::<Invited>("invite", &id).ok().flatten()?;
            Some((id, invited))
        });
        Ok(named.collect())
    }

    fn forget_old_invites(&self) -> Result<(), String> {
        let now = clock::stamp();
        let mut open = 0;
        for (id, invited) in self.open_invites()? {
            if now.as_ms() > invited.expires.as_ms().saturating_add(KEPT_MS) {
                let forgotten = self.shared.home.store.remove_record("invite", &id);
                forgotten.map_err(|error| chain(&error))?;
            } else if now < invited.expires {
                open += 1;
            }
        }
        if open >= OPEN_MAX {
            return Err(format!(
                "make another invite: {OPEN_MAX} are open; withdraw some with `caravan invite --withdraw`"
            ));
        }
        Ok(())
    }

    fn addresses_for(&self, given: Vec<String>) -> Result<Vec<String>, String> {
        for address in &given {
            check_address(address).map_err(|error| error.to_string())?;
        }
        if !given.is_empty() {
            return Ok(given);
        }
        let mesh = self.shared.mesh.as_ref().ok_or(
            "invite others: this node does not listen; start it with `caravan node run --port 4100`",
        )?;
        let addresses = worth_telling(mesh.listen_addresses());
        if addresses.is_empty() {
            return Err("this node listens on no address yet; try again in a moment".to_owned());
        }
        Ok(addresses)
    }
}

fn check(ask: &InviteAsk) -> Result<(), String> {
    if ask.tier == Tier::Council {
        return Err(
            "invite a donor or a trusted node: a council of several is not there yet".to_owned(),
        );
    }
    check_operator(&ask.operator)?;
    if !(LIFE_MS_MIN..=limits::INVITE_LIFE_MS).contains(&ask.life_ms) {
        return Err("make an invite for another time: from one minute to 24 hours".to_owned());
    }
    if ask.addresses.len() > invite::ADDRESSES_MAX {
        let most = invite::ADDRESSES_MAX;
        return Err(format!("name fewer addresses in an invite: at most {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(addresses: &[&str]) -> Vec<String> {
        worth_telling(addresses.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn loopback_and_links_are_told_only_where_there_is_nothing_else() {
        let key = "/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5";
        let all = [
            "/ip4/127.0.0.1/tcp/4100",
            "/ip6/fe80::1/tcp/4100",
            "/ip4/10.0.0.2/tcp/4100",
            "/ip6/::1/tcp/4100",
            &format!("/ip4/10.0.0.2/udp/4100/quic-v1{key}"),
            &format!("/ip4/192.0.2.1/tcp/4100{key}"),
        ];
        assert_eq!(
            told(&all),
            [
                "/ip4/192.0.2.1/tcp/4100",
                "/ip4/10.0.0.2/tcp/4100",
                "/ip4/10.0.0.2/udp/4100/quic-v1",
            ]
        );
        assert_eq!(told(&all[..2]), ["/ip4/127.0.0.1/tcp/4100"]);
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn a_machine_with_many_addresses_tells_three() {
        let many: Vec<String> = (1..20)
            .flat_map(|n| {
                let ip = format!("/ip4/10.0.0.{n}");
                [format!("{ip}/tcp/1"), format!("{ip}/udp/1/quic-v1")]
            })
            .collect();
        assert_eq!(worth_telling(many).len(), 2 * HOSTS_MAX);
    }

    #[test]
    fn what_cannot_be_promised_is_refused() {
        let good = InviteAsk {
            operator: "ann".to_owned(),
            tier: Tier::Donor,
            life_ms: limits::INVITE_LIFE_MS,
            addresses: Vec::new(),
        };
        assert_eq!(check(&good), Ok(()));
        let with = |change: fn(&mut InviteAsk)| {
            let mut ask = good.clone();
            change(&mut ask);
            check(&ask).expect_err("it was promised")
        };
        assert!(with(|ask| ask.operator = "a b".to_owned()).contains("operator"));
        assert!(with(|ask| ask.operator.clear()).contains("operator"));
        assert!(with(|ask| ask.life_ms += 1).contains("24 hours"));
        assert!(with(|ask| ask.life_ms = 0).contains("one minute"));
        assert!(with(|ask| ask.tier = Tier::Council).contains("donor"));
        assert!(with(|ask| ask.addresses = vec![String::new(); 9]).contains("at most 8"));
    }
}
