//! Responses of a TPM by themselves, for a fuzz target: whatever it answers, the exchange ends in a secret or an error.

use crate::{MOST_RESPONSE, Sealed, Transport, read_pcr, seal, unseal};

/// Exchanges of one turn; ours have fewer than a dozen, each repeated at most twenty times.
const MOST: usize = 400;

/// Answers each command with the next piece of some bytes: two bytes of length, then so many bytes. Empty ones when there are no more.
struct Says<'a> {
    rest: &'a [u8],
    asked: usize,
}

impl Transport for Says<'_> {
    fn exchange(&mut self, _: &[u8]) -> std::io::Result<Vec<u8>> {
        self.asked += 1;
        assert!(self.asked <= MOST, "a TPM that answers anything keeps the machine for ever");
        let Some((length, rest)) = self.rest.split_at_checked(2) else { return Ok(Vec::new()) };
        let length =
            length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)).min(MOST_RESPONSE).min(rest.len());
        let (answer, rest) = rest.split_at(length);
        self.rest = rest;
        Ok(answer.to_vec())
    }
}

/// A TPM that answers with these bytes, whatever it is asked for; and a blob of them.
pub fn answers(data: &[u8]) {
    let says = || Says { rest: data, asked: 0 };
    let _ = read_pcr(&mut says(), 7);
    let sealed = match seal(&mut says(), &[1; 32], &[7, 11]) {
        Ok(sealed) => sealed,
        Err(_) => Sealed { blob: data.to_vec(), pcrs: vec![(7, vec![0; 32])] },
    };
    let _ = unseal(&mut says(), &sealed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_has_answers_that_are_understood() {
        let says = |rest: &'static [u8]| Says { rest, asked: 0 };
        let sealed = seal(&mut says(include_bytes!("../../fuzz/corpus/tpm/seal")), &[1; 32], &[7, 11]).unwrap();
        assert_eq!(sealed.pcrs.len(), 2);
        let unsealed = unseal(&mut says(include_bytes!("../../fuzz/corpus/tpm/unseal")), &sealed);
        assert_eq!(unsealed.unwrap(), [b's'; 32]);
    }
}
