//! Subordinate ids of one user: which there are, how a namespace gets 65,536 of them, and what to
//! say to an administrator where there are too few. Pure.

use crate::limits::{ID_COUNT, SUBIDS_MAX};

/// First id that `useradd` gives away by itself.
const FIRST_FREE: u32 = 100_000;

/// Ids that one user may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// Part of a namespace's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

/// The user's lines of `/etc/subuid` or `/etc/subgid`, which name it or its number.
pub(crate) fn ranges(text: &str, user: &str, number: u32) -> Vec<Range> {
    let number = number.to_string();
    let own = |line: &&str| {
        line.split(':')
            .next()
            .is_some_and(|owner| !owner.is_empty() && (owner == user || owner == number))
    };
    text.lines()
        .filter(own)
        .filter_map(|line| range(line.split(':').skip(1)))
        .take(SUBIDS_MAX)
        .collect()
}

/// What `getsubids` says, where a directory service has the ranges: `0: user 100000 65536`.
pub(crate) fn listed(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| range(line.split_whitespace().skip(2)))
        .take(SUBIDS_MAX)
        .collect()
}

fn range<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Range> {
    let first: u32 = fields.next()?.trim().parse().ok()?;
    let count: u32 = fields.next()?.trim().parse().ok()?;
    // The last id of all is no id.
    (first.checked_add(count)? < u32::MAX && count > 0).then_some(Range { first, count })
}

/// A map of ids 0 to 65,535 onto these, in their order; or how many there are, if too few. Ranges
/// that overlap an earlier one are left out: no id outside may be two inside.
pub(crate) fn map(ranges: &[Range]) -> Result<Vec<Extent>, u32> {
    let mut map: Vec<Extent> = Vec::new();
    let mut inside = 0;
    for range in ranges {
        let overlaps = map.iter().any(|taken| {
            range.first < taken.outside + taken.count && taken.outside < range.first + range.count
        });
        if overlaps || inside == ID_COUNT {
            continue;
        }
        let count = range.count.min(ID_COUNT - inside);
        map.push(Extent {
            inside,
            outside: range.first,
            count,
        });
        inside += count;
    }
    if inside == ID_COUNT {
        Ok(map)
    } else {
        Err(inside)
    }
}

/// Where 65,536 ids begin that nobody has in any of these files.
pub(crate) fn free(files: &[&str]) -> u32 {
    let ends = files
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| range(line.split(':').skip(1)).map(|range| range.first + range.count));
    ends.max().unwrap_or(FIRST_FREE).max(FIRST_FREE)
}

/// The name of a user in the text of `/etc/passwd`.
pub(crate) fn name_of(passwd: &str, number: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "alice:100000:65536\n# bob:1:1\n1001:165536:30000\nbob:300000:40000\n\n:5:5\n\
                        bob:x:5\nbob:4294967290:100\nbob:7:0\n";

    #[test]
    fn a_user_is_named_or_numbered_and_bad_lines_are_nothing() {
        let range = |first, count| Range { first, count };
        assert_eq!(ranges(FILE, "alice", 7), [range(100_000, 65_536)]);
        assert_eq!(
            ranges(FILE, "bob", 1001),
            [range(165_536, 30_000), range(300_000, 40_000)]
        );
        assert_eq!(ranges(FILE, "", 7), []);
        assert_eq!(
            listed("0: bob 100000 65536\nnothing\n"),
            [range(100_000, 65_536)]
        );
    }

    #[test]
    fn several_ranges_make_one_map_without_gaps() {
        let map = map(&ranges(FILE, "bob", 1001)).unwrap();
        let parts: Vec<_> = map
            .iter()
            .map(|part| (part.inside, part.outside, part.count))
            .collect();
        assert_eq!(parts, [(0, 165_536, 30_000), (30_000, 300_000, 35_536)]);
    }

    #[test]
    fn too_few_ids_are_counted() {
        let range = |first, count| Range { first, count };
        assert_eq!(map(&[]), Err(0));
        assert_eq!(map(&[range(100_000, 65_535)]), Err(65_535));
        assert_eq!(
            map(&[range(100_000, 40_000), range(120_000, 40_000)]),
            Err(40_000),
            "one id outside cannot be two inside"
        );
        assert!(map(&[range(100_000, 131_072)]).is_ok());
    }

    #[test]
    fn what_is_proposed_is_free_in_both_files() {
        assert_eq!(free(&["", ""]), 100_000);
        assert_eq!(
            free(&["a:100000:65536\n", "a:165536:65536\nb:9:9\n"]),
            231_072
        );
    }

    #[test]
    fn a_name_is_found_by_its_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000), Some("ann"));
        assert_eq!(name_of(passwd, 1001), None);
    }
}
