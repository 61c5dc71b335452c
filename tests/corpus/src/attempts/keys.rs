//! The kernel's keyrings, which know users and not containers.

use super::tools::{c, found_token};
use crate::{
    attempt::{Attempt, Tried, attempt, no_effect},
    ground::Ground,
    raw::{self, Arg},
};

/// Special keyrings: of the session, of the user.
const SESSION: i64 = -3;
const USER: i64 = -4;
const USER_SESSION: i64 = -5;
const PROCESS: i64 = -2;
/// Operations of `keyctl`.
const JOIN: i64 = 1;
const LINK: i64 = 8;
const SEARCH: i64 = 10;
const READ: i64 = 11;
const PERSISTENT: i64 = 22;

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt(
        "key.session",
        "CVE-2016-0728 class; docker's default filter",
        "read the canary key in the session that it was started from",
        |g| search(g, SESSION, "key-session"),
    ),
    attempt(
        "key.user",
        "keyrings(7): shared by user id",
        "read the canary key in its user's keyring",
        |g| search(g, USER, "key-user"),
    ),
    attempt(
        "key.user-session",
        "keyrings(7)",
        "read the canary key in its user's session",
        |g| search(g, USER_SESSION, "key-user"),
    ),
    attempt(
        "key.by-number",
        "keyrings(7)",
        "read the canary key by its number",
        by_number,
    ),
    attempt(
        "key.persistent",
        "keyctl_get_persistent(3)",
        "get the keyring that outlives its user's sessions",
        |g| {
            let ring = raw::call(
                libc::SYS_keyctl,
                &mut [Arg::N(PERSISTENT), Arg::N(-1), Arg::N(PROCESS)],
            )?;
            search(g, ring, "key-persistent").or_else(|_| Ok(format!("keyring {ring} is linked")))
        },
    ),
    attempt(
        "key.add",
        "memory outside of limits",
        "keep bytes in a key",
        |_| {
            let payload = [b'x'; 64];
            raw::call(
                libc::SYS_add_key,
                &mut [
                    Arg::S(c"user"),
                    Arg::S(c"corpus-kept"),
                    Arg::R(&payload),
                    Arg::N(64),
                    Arg::N(PROCESS),
                ],
            )?;
            Ok("a key was made".to_owned())
        },
    ),
    attempt(
        "key.request",
        "the host runs /sbin/request-key",
        "have the host run its program for missing keys",
        |_| match raw::call(
            libc::SYS_request_key,
            &mut [
                Arg::S(c"user"),
                Arg::S(c"corpus-none"),
                Arg::N(0),
                Arg::N(0),
            ],
        ) {
            Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => {
                Ok("the call was made".to_owned())
            }
            other => Ok(format!("key {}", other?)),
        },
    ),
    attempt(
        "key.join",
        "CVE-2016-0728",
        "join a new session keyring",
        |_| {
            let ring = raw::call(libc::SYS_keyctl, &mut [Arg::N(JOIN)])?;
            Ok(format!("keyring {ring} was joined"))
        },
    ),
];

fn read_key(ground: &Ground, key: i64) -> Tried {
    let mut bytes = vec![0; 256];
    let got = raw::call(
        libc::SYS_keyctl,
        &mut [Arg::N(READ), Arg::N(key), Arg::W(&mut bytes), Arg::N(256)],
    )?;
    bytes.truncate(usize::try_from(got).unwrap_or(0));
    found_token(ground, &bytes, &format!("key {key}"))
}

fn search(ground: &Ground, ring: i64, name: &str) -> Tried {
    let name = ground.get(name);
    if name.is_empty() {
        return Err(no_effect("no key is known"));
    }
    let key = raw::call(
        libc::SYS_keyctl,
        &mut [
            Arg::N(SEARCH),
            Arg::N(ring),
            Arg::S(c"user"),
            Arg::S(&c(name)),
            Arg::N(0),
        ],
    )?;
    read_key(ground, key)
}

fn by_number(ground: &Ground) -> Tried {
    let key = ground.number("key-number");
    // A key that is in none of its own keyrings may be read by its user once it is linked.
    let _ = raw::call(
        libc::SYS_keyctl,
        &mut [Arg::N(LINK), Arg::N(key), Arg::N(PROCESS)],
    );
    read_key(ground, key)
}
