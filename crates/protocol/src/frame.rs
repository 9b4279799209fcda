//! Cuts a byte stream into frames, whatever the chunks it arrives in.
//!
//! State between two chunks: the up to 4 bytes of a split header, the number of body bytes still to come, and a
//! bounded prefix of the current body. Invariants: `header_bytes < 5`; `captured.len() <= wanted`;
//! `captured.len() + remaining >= wanted` while a body is being read.

use crate::Desync;
use crate::limits::BODY_BYTES_MAX;

const HEADER_BYTES: usize = 5;
/// Capture buffers above this are given back: an idle session should own nothing.
const CAPTURE_KEPT_BYTES: usize = 512;

/// One tagged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type byte.
    pub tag: u8,
    /// Length of the body in bytes, its length field excluded.
    pub length: u32,
    /// The body, or its beginning up to the limit given for this tag.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that stands whole at the beginning of `chunk`, which is advanced behind it; `None` where none does.
    pub fn take_whole(chunk: &mut &'a [u8]) -> Option<Self> {
        let (header, rest) = chunk.split_first_chunk::<HEADER_BYTES>()?;
        let (tag, length) = decode(*header).ok()?;
        let (body, rest) = rest.split_at_checked(length as usize)?;
        *chunk = rest;
        Some(Self { tag, length, body })
    }

    /// Whether `body` holds the whole body.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        u32::try_from(self.body.len()) == Ok(self.length)
    }
}

/// The part of a frame that has come; nothing between frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFrame<'a> {
    /// Bytes of its header, below 5; empty once it is whole.
    pub header: &'a [u8],
    /// Body bytes still to come, once the header is whole.
    pub remaining: u32,
}

/// Reads the frames of one direction.
///
/// ```
/// use pgtally_protocol::FrameReader;
/// let mut reader = FrameReader::new(|_| 64);
/// let mut chunk: &[u8] = b"Z\0\0\0\x05";
/// assert!(reader.next(&mut chunk).unwrap().is_none());
/// let mut chunk: &[u8] = b"I";
/// let frame = reader.next(&mut chunk).unwrap().unwrap();
/// assert_eq!((frame.tag, frame.body), (b'Z', &b"I"[..]));
/// ```
#[derive(Debug)]
pub struct FrameReader {
    /// Bytes of the body worth keeping, by tag.
    limit: fn(u8) -> usize,
    header: [u8; HEADER_BYTES],
    header_bytes: u8,
    /// Body bytes still to come; meaningful while `in_body`.
    remaining: u32,
    in_body: bool,
    captured: Vec<u8>,
}

impl FrameReader {
    /// A reader that keeps at most `limit(tag)` bytes of each body.
    #[must_use]
    pub const fn new(limit: fn(u8) -> usize) -> Self {
        Self {
            limit,
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            remaining: 0,
            in_body: false,
            captured: Vec::new(),
        }
    }

    /// The next frame that ends in `chunk`; advances `chunk` behind it. `None` when the chunk is used up.
    ///
    /// # Errors
    /// [`Desync::MessageLength`] on a length the protocol does not allow. The reader is of no use after that.
    #[inline]
    pub fn next<'s, 'c: 's>(&'s mut self, chunk: &mut &'c [u8]) -> Result<Option<Frame<'s>>, Desync> {
        if !self.in_body && self.header_bytes == 0 {
            if let Some((header, rest)) = chunk.split_first_chunk::<HEADER_BYTES>() {
                let (tag, length) = decode(*header)?;
                if let Some((body, rest)) = rest.split_at_checked(length as usize) {
                    *chunk = rest;
                    let body = body.get(..(self.limit)(tag)).unwrap_or(body);
                    return Ok(Some(Frame { tag, length, body }));
                }
            } else if chunk.is_empty() {
                return Ok(None);
            }
        }
        self.next_split(chunk)
    }

    /// Passes over the frames of `tag` that stand whole at the beginning of `chunk`. Returns how many there were, and
    /// the sum of their lengths. What is left, an impossible length too, is for [`FrameReader::next`].
    pub fn pass_over(&mut self, tag: u8, chunk: &mut &[u8]) -> (u64, u64) {
        let (mut frames, mut bytes) = (0, 0);
        if self.in_body || self.header_bytes > 0 {
            return (frames, bytes);
        }
        while let Some((header, rest)) = chunk.split_first_chunk::<HEADER_BYTES>()
            && let Ok((found, length)) = decode(*header)
            && found == tag
            && let Some(rest) = rest.get(length as usize..)
        {
            *chunk = rest;
            frames += 1;
            bytes += u64::from(length);
        }
        (frames, bytes)
    }

    /// The slow path: the frame began in an earlier chunk, or goes on in a later one.
    fn next_split<'s, 'c: 's>(&'s mut self, chunk: &mut &'c [u8]) -> Result<Option<Frame<'s>>, Desync> {
        if !self.in_body {
            let missing = HEADER_BYTES - usize::from(self.header_bytes);
            let taken = take(chunk, missing);
            let at = usize::from(self.header_bytes);
            if let Some(slot) = self.header.get_mut(at..at + taken.len()) {
                slot.copy_from_slice(taken);
            }
            if taken.len() < missing {
                self.header_bytes += taken.len() as u8;
                return Ok(None);
            }
            let (_, length) = decode(self.header)?;
            self.header_bytes = 0;
            self.remaining = length;
            self.in_body = true;
            self.release_capture();
        }
        let (tag, length) = decode(self.header)?;
        let taken = take(chunk, self.remaining as usize);
        let room = (self.limit)(tag).saturating_sub(self.captured.len());
        self.captured.extend_from_slice(taken.get(..room).unwrap_or(taken));
        self.remaining -= taken.len() as u32;
        if self.remaining > 0 {
            return Ok(None);
        }
        self.in_body = false;
        Ok(Some(Frame { tag, length, body: &self.captured }))
    }

    fn release_capture(&mut self) {
        if self.captured.capacity() > CAPTURE_KEPT_BYTES {
            self.captured = Vec::new();
        }
        self.captured.clear();
    }

    /// Whether nothing of a frame has come that has not ended.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        self.header_bytes == 0 && !self.in_body
    }

    /// What has come of a frame that has not ended.
    #[must_use]
    pub fn open_frame(&self) -> OpenFrame<'_> {
        let header = self.header.get(..usize::from(self.header_bytes)).unwrap_or_default();
        OpenFrame { header, remaining: if self.in_body { self.remaining } else { 0 } }
    }

    /// Gives back the buffer of the last split frame. Call it when the session has nothing unanswered.
    pub fn shrink(&mut self) {
        if !self.in_body {
            self.release_capture();
        }
    }
}

fn decode(header: [u8; HEADER_BYTES]) -> Result<(u8, u32), Desync> {
    let [tag, length @ ..] = header;
    let body = u32::from_be_bytes(length).wrapping_sub(4);
    if body > BODY_BYTES_MAX { Err(Desync::MessageLength) } else { Ok((tag, body)) }
}

fn take<'c>(chunk: &mut &'c [u8], count: usize) -> &'c [u8] {
    let (taken, rest) = chunk.split_at(count.min(chunk.len()));
    *chunk = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]], limit: fn(u8) -> usize) -> Result<Vec<(u8, u32, Vec<u8>)>, Desync> {
        let mut reader = FrameReader::new(limit);
        let mut found = Vec::new();
        for chunk in chunks {
            let mut chunk: &[u8] = chunk;
            while let Some(frame) = reader.next(&mut chunk)? {
                found.push((frame.tag, frame.length, frame.body.to_vec()));
            }
        }
        Ok(found)
    }

    #[test]
    fn passing_over_stops_where_the_frames_do() {
        let rows = [message(b'D', b"one"), message(b'D', b""), message(b'C', b"SELECT 2\0")].concat();
        for end in 0..=rows.len() {
            let mut reader = FrameReader::new(limit);
            let mut chunk = &rows[..end];
            let (passed, bytes) = reader.pass_over(b'D', &mut chunk);
            let whole = u64::from(end >= 8) + u64::from(end >= 13);
            assert_eq!((passed, bytes), (whole, 3 * whole.min(1)));
            // The rest is read as if nothing had been passed over.
            let mut left = 0;
            for mut chunk in [chunk, &rows[end..]] {
                while reader.next(&mut chunk).unwrap().is_some() {
                    left += 1;
                }
            }
            assert_eq!(whole + left, 3);
        }
        let mut reader = FrameReader::new(limit);
        let mut impossible: &[u8] = b"D\0\0\0\x03";
        assert_eq!(reader.pass_over(b'D', &mut impossible), (0, 0));
        assert_eq!(reader.next(&mut impossible), Err(Desync::MessageLength));
    }

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn limit(tag: u8) -> usize {
        if tag == b'D' { 3 } else { 1_000 }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            messages in prop::collection::vec((prop::sample::select(b"DZTQ".to_vec()), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cuts in prop::collection::vec(0_usize..400, 0..12),
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut at = 0;
            for cut in cuts {
                chunks.push(&stream[at..cut]);
                at = cut;
            }
            chunks.push(&stream[at..]);
            let whole = frames(&[&stream], limit).unwrap();
            prop_assert_eq!(whole.len(), messages.len());
            prop_assert_eq!(frames(&chunks, limit).unwrap(), whole);
        }

        #[test]
        fn garbage_never_panics(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..10)) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let _ = frames(&chunks, limit);
        }
    }

    #[test]
    fn a_body_beyond_the_limit_is_cut_but_its_length_is_told() {
        let stream = message(b'D', b"abcdef");
        for split in 0..stream.len() {
            let (left, right) = stream.split_at(split);
            assert_eq!(
                frames(&[left, right], limit).unwrap(),
                vec![(b'D', 6, b"abc".to_vec())],
                "split at {split}"
            );
        }
    }

    #[test]
    fn impossible_lengths_end_observation() {
        for length in [0_u32, 3, 0x4000_0004, u32::MAX] {
            let stream = [&b"D"[..], &length.to_be_bytes()].concat();
            assert_eq!(frames(&[&stream], limit), Err(Desync::MessageLength), "{length}");
        }
    }

    #[test]
    fn a_huge_body_is_never_held() {
        let mut reader = FrameReader::new(|_| 10);
        let header = [&b"d"[..], &(1_000_000_u32 + 4).to_be_bytes()].concat();
        let mut chunk: &[u8] = &header;
        assert!(reader.next(&mut chunk).unwrap().is_none());
        let body = vec![7_u8; 1_000];
        for _ in 0..999 {
            let mut chunk: &[u8] = &body;
            assert!(reader.next(&mut chunk).unwrap().is_none());
        }
        assert!(reader.captured.capacity() < 100);
        let mut chunk: &[u8] = &body;
        assert_eq!(reader.next(&mut chunk).unwrap().unwrap().length, 1_000_000);
    }
}
