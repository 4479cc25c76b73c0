//! The words that matter, recognised a byte at a time without keeping the word.
#![expect(clippy::indexing_slicing, reason = "indexes made here")]

/// Sorted, so that the words with a common beginning stand together.
const WORDS: [&str; 30] = [
    "BEGIN",
    "COMMIT",
    "DATE",
    "DELAYED",
    "DELETE",
    "GET_LOCK",
    "HIGH_PRIORITY",
    "IGNORE",
    "INSERT",
    "INTO",
    "LOW_PRIORITY",
    "PROXY_STATUS",
    "PROXY_VERSION",
    "RELEASE",
    "RELEASE_ALL_LOCKS",
    "RELEASE_LOCK",
    "REPLACE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SHARE",
    "START",
    "TABLE",
    "TIME",
    "TIMESTAMP",
    "TRANSACTION",
    "UPDATE",
    "VALUES",
    "WITH",
    "WORK",
];

/// A word so far.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Word {
    /// The first `length` bytes of `WORDS[first]`, the first word that begins like that.
    Begun { first: usize, length: usize },
    /// None of the words that matter.
    Other,
}

impl Word {
    pub(crate) const EMPTY: Self = Self::Begun {
        first: 0,
        length: 0,
    };

    pub(crate) fn and(self, byte: u8) -> Self {
        let Self::Begun { first, length } = self else {
            return Self::Other;
        };
        let byte = byte.to_ascii_uppercase();
        let begun = &WORDS[first].as_bytes()[..length];
        // The words with the same beginning are neighbours, sorted by their next byte.
        for (further, word) in WORDS[first..].iter().enumerate() {
            match word.as_bytes().get(length) {
                Some(&next) if next == byte && word.as_bytes().starts_with(begun) => {
                    return Self::Begun {
                        first: first + further,
                        length: length + 1,
                    };
                }
                Some(&next) if next > byte => break,
                _ => {}
            }
        }
        Self::Other
    }

    /// The word that this is, if it is complete and matters.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Begun { first, length } if WORDS[first].len() == length => WORDS[first],
            Self::Begun { .. } | Self::Other => "",
        }
    }
}

#[test]
fn words() {
    assert!(WORDS.is_sorted());
    let read = |text: &str| text.bytes().fold(Word::EMPTY, Word::and).text();
    assert!(
        WORDS
            .iter()
            .all(|word| read(word) == *word && read(&word.to_lowercase()) == *word)
    );
    assert_eq!(
        [read("TIM"), read("TIMES"), read("TIMEX"), read("")],
        [""; 4]
    );
}
