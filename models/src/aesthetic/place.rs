//! Weights that ONNX Runtime maps out of the published file instead of being given.
//!
//! A tower's weights are a gigabyte and more. Given by name they are copied into the session, so they
//! are in memory twice while it is made. Where a safetensors file has them as float32, the graph can
//! say where in the file they lie, and ONNX Runtime maps it: nothing is read before it is used, nothing
//! is copied, and all processes share the pages.
//!
//! The graphs of `recipes/vision_graphs` are written for this: the offset of each weight has room for
//! any number, and holds the number of the weight in the order of names until it is written over here.
//! Decided against reading the graph as a protobuf: fixed places need no reader, and what does not fit
//! is noticed, because each number must be there once.

/// Digits of an offset.
const DIGITS: usize = 20;
/// What stands before an offset: a field of 6 bytes that is the key, and one of 20 bytes.
const BEFORE: &[u8] = b"\n\x06offset\x12\x14";

/// A graph is not one whose offsets can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the graph has places for {found} offsets and the list {weights} weights")]
pub struct PlaceError {
    /// How many weights there are.
    pub weights: usize,
    /// How many of their offsets were found.
    pub found: usize,
}

/// Writes where each weight lies in its file, in bytes: `offsets` are in the order of names.
///
/// # Errors
/// When the graph does not have exactly these weights; it is then of no use any more.
pub fn place(onnx: &mut [u8], offsets: &[u64]) -> Result<(), PlaceError> {
    let mut seen = vec![false; offsets.len()];
    let mut found = 0;
    let mut at = 0;
    while let Some(next) = position(&onnx[at..]) {
        let start = at + next;
        at = start + DIGITS;
        let Some(digits) = onnx.get_mut(start..at) else { break };
        found += 1;
        let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
        let place = number.and_then(|number| Some((offsets.get(number)?, seen.get_mut(number)?)));
        if let Some((offset, seen)) = place {
            digits.copy_from_slice(format!("{offset:0DIGITS$}").as_bytes());
            *seen = true;
        }
    }
    if found == offsets.len() && seen.iter().all(|seen| *seen) {
        return Ok(());
    }
    Err(PlaceError { weights: offsets.len(), found })
}

/// Where the next offset's digits begin.
fn position(bytes: &[u8]) -> Option<usize> {
    let found = bytes.windows(BEFORE.len()).position(|window| window == BEFORE)?;
    Some(found + BEFORE.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &[u8] = include_bytes!("../../tests/fixtures/clip_tiny.onnx");
    const WEIGHTS: usize = 40;

    /// The offsets in a graph, in its own order.
    fn offsets(onnx: &[u8]) -> Vec<u64> {
        let mut found = Vec::new();
        let mut rest = onnx;
        while let Some(next) = position(rest) {
            found.push(std::str::from_utf8(&rest[next..next + DIGITS]).unwrap().parse().unwrap());
            rest = &rest[next..];
        }
        found
    }

    #[test]
    fn each_weight_gets_its_offset_and_nothing_else_changes() {
        let numbers = offsets(TINY);
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..WEIGHTS as u64), "{numbers:?}");

        let wanted: Vec<u64> = (0..WEIGHTS as u64).map(|number| 1_000_000_007 * number).collect();
        let mut onnx = TINY.to_vec();
        place(&mut onnx, &wanted).unwrap();
        let expected: Vec<u64> = numbers.iter().map(|number| wanted[*number as usize]).collect();
        assert_eq!(offsets(&onnx), expected);
        assert_eq!(onnx.len(), TINY.len());
        let changed = onnx.iter().zip(TINY).filter(|(a, b)| a != b).count();
        assert!(changed <= WEIGHTS * 11, "{changed}");
    }

    #[test]
    fn another_graph_is_refused() {
        for (onnx, weights) in [(TINY, WEIGHTS - 1), (TINY, WEIGHTS + 1), (&TINY[..4000], WEIGHTS)]
        {
            let error = place(&mut onnx.to_vec(), &vec![7; weights]).unwrap_err();
            assert_eq!(error.weights, weights);
        }
        // A number twice.
        let twice = [BEFORE, b"00000000000000000000", BEFORE, b"00000000000000000000"].concat();
        assert!(place(&mut twice.clone(), &[5, 6]).is_err());
        // Cut off within an offset.
        assert!(place(&mut twice[..20].to_vec(), &[5]).is_err());
        assert_eq!(place(&mut b"no graph".to_vec(), &[]), Ok(()));
    }
}
