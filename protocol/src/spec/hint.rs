//! Guesses which word was meant by one that means nothing.

/// Most words that a hint lists.
const WORDS_MAX: usize = 8;
/// Longest word that is compared at all, bytes: the work grows with the square of it.
const COMPARED_BYTES_MAX: usize = 64;

/// `did you mean "a"?` where a word is near, else which words there are, else `none`.
pub(super) fn hint(word: &str, known: &[&str], kind: &str) -> String {
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .filter_map(|&other| Some((distance(word, other)?, other)))
        .collect();
    near.sort_unstable();
    near.dedup();
    // Only the nearest: a second guess that is further off is noise.
    if let Some(&(best, _)) = near.first() {
        let words: Vec<&str> = near
            .iter()
            .filter(|(distance, _)| *distance == best)
            .map(|&(_, other)| other)
            .collect();
        return format!("did you mean {}?", join(&words, "or"));
    }
    let mut words = known.to_vec();
    words.sort_unstable();
    words.dedup();
    match words.len() {
        0 => format!("there are no {kind}s here"),
        1 => format!("the only {kind} here is {}", join(&words, "and")),
        _ => format!("the {kind}s here are {}", join(&words, "and")),
    }
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`; what is beyond the limit is only counted.
fn join(words: &[&str], last: &str) -> String {
    let mut out = String::new();
    let shown = words.len().min(WORDS_MAX);
    let more = words.len() - shown;
    for (index, word) in words[..shown].iter().enumerate() {
        if index > 0 {
            if index + 1 == shown && more == 0 {
                out.push_str(&format!(" {last} "));
            } else {
                out.push_str(", ");
            }
        }
        out.push_str(&format!("{:?}", super::error::shorten(word)));
    }
    if more > 0 {
        out.push_str(&format!(" {last} {more} more"));
    }
    out
}

/// How many letters two words differ by, where that is few enough to be a slip of the keys.
fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len() > COMPARED_BYTES_MAX || b.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // One row per letter of `a`; the row before last is for two letters that changed places.
    let mut older: Vec<usize> = vec![0; b.len() + 1];
    let mut old: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = old[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(old[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(older[j - 2] + 1);
            }
        }
        older = std::mem::replace(&mut old, row);
    }
    let longest = a.len().max(b.len());
    let few = (longest / 3).clamp(1, 3);
    (old[b.len()] <= few && old[b.len()] < longest).then_some(old[b.len()])
}

#[cfg(test)]
mod tests {
    use super::{distance, hint};

    #[test]
    fn slips_of_the_keys_are_near() {
        assert_eq!(distance("wrokdir", "workdir"), Some(1));
        assert_eq!(distance("secret", "secrets"), Some(1));
        assert_eq!(distance("run", "env"), None);
        assert_eq!(distance("x", "y"), None);
    }

    #[test]
    fn hint_names_the_nearest_or_all() {
        assert_eq!(
            hint("tool", &["tools", "base"], "build"),
            "did you mean \"tools\"?"
        );
        assert_eq!(
            hint("deb", &["dev", "web"], "build"),
            "did you mean \"dev\" or \"web\"?"
        );
        assert_eq!(
            hint("zzz", &["b", "a"], "build"),
            "the builds here are \"a\" and \"b\""
        );
        assert_eq!(hint("zzz", &[], "build"), "there are no builds here");
        let many: Vec<String> = (0..20).map(|n| format!("n{n:02}aaaa")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(hint("zzz", &many, "build").ends_with("\"n07aaaa\" and 12 more"));
    }
}
