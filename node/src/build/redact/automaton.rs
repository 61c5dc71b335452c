//! Many words looked for at once in bytes that come one by one (Aho and Corasick, 1975). Our own,
//! because its tables are the secrets spelled out: they are allocated once, never moved, and wiped
//! when dropped.

use zeroize::{DefaultIsZeroes, Zeroize, Zeroizing};

/// The beginning of some words. Number 0 is the empty one, which is nobody's child or sibling.
#[derive(Clone, Copy, Default)]
struct Node {
    /// The first that is one byte longer, or 0.
    child: u32,
    /// The next of the same length with the same beginning, or 0.
    sibling: u32,
    /// The longest other beginning of a word that this one ends in.
    fail: u32,
    /// Length of the longest word that this ends in, or 0.
    longest: u32,
    /// Length of the longest beginning of a longer word that this ends in.
    hold: u32,
    /// The last byte.
    byte: u8,
}

impl DefaultIsZeroes for Node {}

/// The words.
pub(super) struct Automaton {
    nodes: Vec<Node>,
    /// The children of node 0 by their byte.
    first: Zeroizing<Vec<u32>>,
}

impl Drop for Automaton {
    fn drop(&mut self) {
        self.nodes.zeroize();
    }
}

/// Nodes that these words, which are sorted, need besides the first: common beginnings count once.
pub(super) fn size(words: &[impl AsRef<[u8]>]) -> usize {
    let mut before: &[u8] = &[];
    let mut size = 0;
    for word in words {
        let word = word.as_ref();
        let common = before.iter().zip(word).take_while(|(a, b)| a == b);
        size += word.len() - common.count();
        before = word;
    }
    size
}

impl Automaton {
    /// For these words, which are sorted and of which none is empty.
    pub(super) fn new(words: &[impl AsRef<[u8]>]) -> Self {
        let mut nodes = Vec::with_capacity(size(words) + 1);
        nodes.push(Node::default());
        let first = Zeroizing::new(vec![0; 256]);
        let mut automaton = Self { nodes, first };
        for word in words {
            automaton.add(word.as_ref());
        }
        automaton.link();
        automaton
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    fn child(&self, node: u32, byte: u8) -> u32 {
        if node == 0 {
            return self.first[usize::from(byte)];
        }
        let mut child = self.node(node).child;
        while child != 0 && self.node(child).byte != byte {
            child = self.node(child).sibling;
        }
        child
    }

    fn add(&mut self, word: &[u8]) {
        let mut node = 0;
        for byte in word {
            let mut child = self.child(node, *byte);
            if child == 0 {
                child = number(self.nodes.len());
                self.nodes.push(Node {
                    sibling: self.node(node).child,
                    byte: *byte,
                    ..Node::default()
                });
                self.nodes[node as usize].child = child;
                if node == 0 {
                    self.first[usize::from(*byte)] = child;
                }
            }
            node = child;
        }
        self.nodes[node as usize].longest = number(word.len());
    }

    /// Finds for each node the longest other that it ends in: the shorter ones first.
    fn link(&mut self) {
        let mut row = vec![0];
        let mut length = 0;
        while !row.is_empty() {
            length += 1;
            let mut next = Vec::new();
            for parent in row {
                let mut child = self.node(parent).child;
                while child != 0 {
                    let byte = self.node(child).byte;
                    let fail = match parent {
                        0 => 0,
                        _ => self.step(self.node(parent).fail, byte),
                    };
                    let shorter = *self.node(fail);
                    let node = &mut self.nodes[child as usize];
                    node.fail = fail;
                    node.longest = node.longest.max(shorter.longest);
                    node.hold = if node.child == 0 {
                        shorter.hold
                    } else {
                        length
                    };
                    next.push(child);
                    child = node.sibling;
                }
            }
            row = next;
        }
    }

    /// Where `byte` leads from `node`.
    pub(super) fn step(&self, mut node: u32, byte: u8) -> u32 {
        loop {
            let child = self.child(node, byte);
            if child != 0 || node == 0 {
                return child;
            }
            node = self.node(node).fail;
        }
    }

    /// Whether a word begins with `byte`.
    pub(super) fn begins(&self, byte: u8) -> bool {
        self.first[usize::from(byte)] != 0
    }

    /// Length of the longest word that ends here, or 0.
    pub(super) fn longest(&self, node: u32) -> u32 {
        self.node(node).longest
    }

    /// How many of the last bytes may be the beginning of a word.
    pub(super) fn hold(&self, node: u32) -> u32 {
        self.node(node).hold
    }
}

fn number(of: usize) -> u32 {
    u32::try_from(of).expect("all words together are bounded far below 4 GiB")
}
