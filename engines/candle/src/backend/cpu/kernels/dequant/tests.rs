//! Every format against the numbers that gguf-py reads out of the same bytes.

use crate::backend::cpu::kernels::reference::Random;
use crate::backend::cpu::kernels::{Level, dequantise, with_format};
use crate::backend::cpu::tests::{from_bytes, stored};
use crate::backend::{Backend, CandleBackend, CpuBackend};
use plimsoll_formats::Dtype;
use safetensors::SafeTensors;

fn golden(read: impl Fn(Dtype, &[u8], &[f32])) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/blocks.safetensors");
    let file = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    for dtype in Dtype::ALL {
        let bytes = tensors.tensor(&format!("{dtype}.bytes")).unwrap();
        let values = tensors.tensor(&format!("{dtype}.values")).unwrap();
        assert_eq!(bytes.shape()[1] as u64, dtype.block_bytes(), "{dtype}");
        assert_eq!(values.shape()[1] as u64, dtype.block_len(), "{dtype}");
        let values: Vec<f32> =
            values.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        read(dtype, bytes.data(), &values);
    }
}

/// Equal to the bit; the sign and payload of a NaN are nobody's concern.
fn assert_same(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{what} at {at}: {got:e} is not {want:e}");
    }
}

#[test]
fn blocks_are_read_as_by_gguf_py_on_all_levels() {
    golden(|dtype, bytes, want| {
        for level in Level::all() {
            let mut got = vec![0.0; want.len()];
            with_format!(dtype, F => dequantise::<F>(level, bytes, &mut got));
            assert_same(&got, want, &format!("{dtype} {level:?}"));
        }
    });
}

#[test]
fn vectors_are_read_as_by_gguf_py_on_both_backends() {
    golden(|dtype, bytes, want| {
        let vector = CpuBackend::load_vector(dtype, want.len(), &mut from_bytes(bytes)).unwrap();
        assert_same(vector.values(), want, &format!("{dtype} on cpu"));
        let vector = CandleBackend::load_vector(dtype, want.len(), &mut from_bytes(bytes)).unwrap();
        assert_same(&vector.tensor().to_vec1::<f32>().unwrap(), want, &format!("{dtype} on candle"));
    });
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let mut random = Random::new(41);
    for dtype in Dtype::ALL {
        let blocks = 64;
        let mut bytes = stored(dtype, blocks * dtype.block_len() as usize, &mut random);
        bytes.iter_mut().for_each(|byte| *byte = ((random.float() + 1.0) * 128.0) as u8);
        let mut values = vec![0.0; blocks * dtype.block_len() as usize];
        for level in Level::all() {
            with_format!(dtype, F => dequantise::<F>(level, &bytes, &mut values));
        }
    }
}
