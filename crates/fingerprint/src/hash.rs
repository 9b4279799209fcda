//! The one hash of this crate: fixed seeds, 64 bits, eight bytes a step.
//!
//! Fingerprints are stored in baselines and finding ids, so nothing here may ever change. It is no defence against
//! somebody who looks for collisions: that would spoil only their own statistics.

/// Start value of every fingerprint.
pub(crate) const SEED: u64 = 0x7067_7461_6c6c_7901;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// Sets the lower-case bit of eight bytes. Among the bytes of words this joins nothing but the two cases of a
/// letter (`_` becomes 0x7f, which no word contains).
const LOWER: u64 = 0x2020_2020_2020_2020;

/// One step; a bijection in `word` for every `state`.
pub(crate) const fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 32)
}

/// Spreads the state over all bits.
pub(crate) const fn finish(state: u64) -> u64 {
    let mut x = state;
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Hash of bytes, case kept.
pub(crate) fn bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(seed, bytes.len() as u64);
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        state = mix(state, u64::from_le_bytes(*chunk));
    }
    if rest.is_empty() { state } else { mix(state, partial(rest)) }
}

/// Hash of the ASCII word at `start..end` of `text`, case folded. Equal to [`keyword`] of it.
#[inline]
pub(crate) fn word(text: &[u8], start: usize, end: usize) -> u64 {
    let mut state = mix(SEED, (end - start) as u64);
    let mut at = start;
    while end - at >= 8 {
        state = mix(state, load(text, at, 8) | LOWER);
        at += 8;
    }
    let rest = end - at;
    if rest == 0 {
        return state;
    }
    // Mostly there are eight bytes to read, be it beyond the word; then a mask is cheaper than a loop.
    let mask = u64::MAX >> (64 - 8 * rest);
    mix(state, (load(text, at, rest) | LOWER) & mask)
}

/// Hash of a word with bytes above 0x7f: only its ASCII letters are folded.
pub(crate) fn wide_word(word: &[u8]) -> u64 {
    let mut state = mix(SEED, word.len() as u64);
    for chunk in word.chunks(8) {
        let mut folded = [0; 8];
        for (to, from) in folded.iter_mut().zip(chunk) {
            *to = if from.is_ascii() { from | 0x20 } else { *from };
        }
        state = mix(state, u64::from_le_bytes(folded));
    }
    state
}

/// [`word`] of a whole ASCII text, at compile time.
pub(crate) const fn keyword(word: &[u8]) -> u64 {
    let mut state = mix(SEED, word.len() as u64);
    let mut at = 0;
    while at < word.len() {
        let mut chunk = 0;
        let mut shift = 0;
        while shift < 64 && at < word.len() {
            chunk |= ((word[at] | 0x20) as u64) << shift;
            at += 1;
            shift += 8;
        }
        state = mix(state, chunk);
    }
    state
}

#[inline]
fn load(text: &[u8], at: usize, count: usize) -> u64 {
    match text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => partial(text.get(at..at + count).unwrap_or_default()),
    }
}

fn partial(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_hashes_agree_and_fold_case() {
        for text in ["a", "id", "select", "user_id_", "current_timestamp", "a_very_long_column_name_$1"] {
            let upper = text.to_uppercase();
            assert_eq!(word(text.as_bytes(), 0, text.len()), keyword(text.as_bytes()));
            assert_eq!(word(upper.as_bytes(), 0, text.len()), keyword(text.as_bytes()));
            assert_eq!(wide_word(upper.as_bytes()), keyword(text.as_bytes()));
            let inside = format!("({text}) and more text");
            assert_eq!(word(inside.as_bytes(), 1, 1 + text.len()), keyword(text.as_bytes()));
        }
        assert_ne!(keyword(b"a_b"), keyword(b"a?b"));
    }
}
