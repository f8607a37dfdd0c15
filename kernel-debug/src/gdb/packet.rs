//! Packets of the gdb remote protocol: framing, checksums, escapes and run lengths, and the replies that mean something by
//! themselves. Pure.
//!
//! Source: the GDB manual's appendix "GDB Remote Serial Protocol", sections Overview and Stop Reply Packets.

/// What an escaped byte is xored with.
const ESCAPE: u8 = 0x20;

/// What a run length's character is above the number of further repeats.
const RUN: u8 = 29;

/// `$`, the escaped payload, `#` and two digits of checksum.
pub(super) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + 4);
    bytes.push(b'$');
    for &byte in payload {
        if matches!(byte, b'$' | b'#' | b'}' | b'*') {
            bytes.extend([b'}', byte ^ ESCAPE]);
        } else {
            bytes.push(byte);
        }
    }
    let sum = checksum(&bytes[1..]);
    bytes.extend(format!("#{sum:02x}").bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, &byte| sum.wrapping_add(byte))
}

/// One thing the other side sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `+`: the last packet came through.
    Ack,
    /// `-`: send the last packet again.
    Nak,
    /// A packet's payload, escapes and run lengths undone.
    Packet(Vec<u8>),
    /// A packet whose checksum or coding is wrong.
    Corrupt,
}

/// Cuts a stream of bytes into tokens, however the bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Where bytes are to be added at the end.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.reserve(4096);
        &mut self.bytes
    }

    /// The next whole token; bytes between packets that mean nothing are dropped.
    pub fn next(&mut self) -> Option<Token> {
        let start = self.bytes.iter().position(|byte| matches!(byte, b'+' | b'-' | b'$'));
        self.bytes.drain(..start.unwrap_or(self.bytes.len()));
        match *self.bytes.first()? {
            b'+' => {
                self.bytes.remove(0);
                Some(Token::Ack)
            }
            b'-' => {
                self.bytes.remove(0);
                Some(Token::Nak)
            }
            _ => {
                let end = self.bytes.iter().position(|&byte| byte == b'#')?;
                let sum = self.bytes.get(end + 1..end + 3)?;
                let sum = std::str::from_utf8(sum).ok().and_then(|sum| u8::from_str_radix(sum, 16).ok());
                let raw = &self.bytes[1..end];
                let payload = (sum == Some(checksum(raw))).then(|| expand(raw)).flatten();
                self.bytes.drain(..end + 3);
                Some(payload.map_or(Token::Corrupt, Token::Packet))
            }
        }
    }
}

/// Undoes escapes and run lengths; none where either is cut off or counts below nothing.
fn expand(raw: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'}' => payload.push(bytes.next()? ^ ESCAPE),
            b'*' => {
                let (last, repeats) = (*payload.last()?, bytes.next()?.checked_sub(RUN)?);
                payload.extend(std::iter::repeat_n(last, repeats.into()));
            }
            byte => payload.push(byte),
        }
    }
    Some(payload)
}

/// Why the machine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// A breakpoint or a finished step (5, SIGTRAP), or because it was asked to (2, SIGINT).
    Signal {
        /// Number of the signal.
        signal: u8,
        /// Virtual CPU that it is about, as the stub counts threads.
        thread: Option<u32>,
    },
    /// It has ended; the packet, for people.
    Ended(String),
}

/// Reads a stop reply: `T05thread:01;`, `S05`, `W00`, `X09`. None for anything else.
pub(super) fn stop(payload: &[u8]) -> Option<Stop> {
    let text = std::str::from_utf8(payload).ok()?;
    let signal = |digits: Option<&str>| u8::from_str_radix(digits?, 16).ok();
    match text.as_bytes().first()? {
        b'S' => Some(Stop::Signal { signal: signal(text.get(1..3))?, thread: None }),
        b'T' => {
            let fields = text.get(3..)?.split(';').filter_map(|field| field.split_once(':'));
            let thread = fields.filter(|(key, _)| *key == "thread").find_map(|(_, id)| thread(id));
            Some(Stop::Signal { signal: signal(text.get(1..3))?, thread })
        }
        b'W' | b'X' if text.len() >= 3 => Some(Stop::Ended(text.to_owned())),
        _ => None,
    }
}

/// A thread's number: `01`, or the second half of `p01.01`.
pub(super) fn thread(id: &str) -> Option<u32> {
    let id = match id.strip_prefix('p') {
        Some(both) => both.split_once('.')?.1,
        None => id,
    };
    u32::from_str_radix(id, 16).ok()
}

/// Two lower-case digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// [`hex`] undone; none for an odd number of digits, or where a digit is none (`x` stands for what cannot be had).
pub(super) fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Vec<Token> {
        let mut decoder = Decoder::default();
        decoder.room().extend(bytes);
        std::iter::from_fn(|| decoder.next()).collect()
    }

    #[test]
    fn a_packet_is_framed_as_the_manual_says() {
        assert_eq!(frame(b"OK"), b"$OK#9a");
        assert_eq!(frame(b"QStartNoAckMode"), b"$QStartNoAckMode#b0");
        assert_eq!(frame(b"a}b"), b"$a}]b#9d");
    }

    #[test]
    fn runs_are_expanded() {
        // The manual's own example: `0* ` stands for 0000.
        assert_eq!(expand(b"0* "), Some(b"0000".to_vec()));
        assert_eq!(expand(b"*!"), None);
        assert_eq!(expand(b"0*"), None);
        assert_eq!(expand(b"0}"), None);
    }

    #[test]
    fn tokens_between_rubbish() {
        let tokens = decode(b"\x03x+$OK#9ay-$E01#a6$OK#00");
        let want = [Token::Ack, Token::Packet(b"OK".into()), Token::Nak, Token::Packet(b"E01".into()), Token::Corrupt];
        assert_eq!(tokens, want);
    }

    #[test]
    fn stop_replies() {
        let signal = |signal, thread| Some(Stop::Signal { signal, thread });
        assert_eq!(stop(b"T05thread:02;"), signal(5, Some(2)));
        assert_eq!(stop(b"T05watch:ffff;thread:p01.1f;core:1;"), signal(5, Some(0x1f)));
        assert_eq!(stop(b"T02"), signal(2, None));
        assert_eq!(stop(b"S05"), signal(5, None));
        assert_eq!(stop(b"W00"), Some(Stop::Ended("W00".into())));
        for other in [&b""[..], b"OK", b"E01", b"T", b"Tzz", b"W"] {
            assert_eq!(stop(other), None);
        }
    }

    #[test]
    fn digits_that_are_none() {
        assert_eq!(unhex(b"0f"), Some(vec![15]));
        for bad in [&b"0"[..], b"xx", b"0g"] {
            assert_eq!(unhex(bad), None);
        }
    }

    proptest! {
        #[test]
        fn any_payload_comes_back_however_the_bytes_arrive(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4), cut in 1usize..9,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| frame(payload)).collect();
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for chunk in bytes.chunks(cut) {
                decoder.room().extend(chunk);
                seen.extend(std::iter::from_fn(|| decoder.next()));
            }
            prop_assert_eq!(seen, payloads.into_iter().map(Token::Packet).collect::<Vec<_>>());
        }

        #[test]
        fn a_flipped_bit_in_a_payload_is_noticed(payload in "[a-z0-9]{1,20}", at: prop::sample::Index, bit in 0u8..4) {
            let mut bytes = frame(payload.as_bytes());
            let at = 1 + at.index(payload.len());
            bytes[at] ^= 1 << bit;
            let noticed = decode(&bytes) != vec![Token::Packet(payload.into_bytes())];
            prop_assert!(noticed);
        }

        #[test]
        fn rubbish_stops_nobody(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for token in decode(&bytes) {
                if let Token::Packet(payload) = token {
                    let _ = (stop(&payload), unhex(&payload));
                }
            }
        }

        #[test]
        fn hex_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = hex(&bytes);
            prop_assert_eq!(unhex(text.as_bytes()), Some(bytes));
        }
    }
}
