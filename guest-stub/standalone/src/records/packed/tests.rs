use super::*;
use alloc::vec;
use alloc::vec::Vec;
use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;

/// Stamps: of one machine's run, none, and what a log could hold beside.
pub(in crate::records) fn stamps() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_000_000_u64..1_100_000,
        2 => Just(0),
        1 => select(vec![1, 2, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1, (1 << 63) + 1]),
        1 => any::<u64>(),
    ]
}

fn samples() -> impl Strategy<Value = Sample> {
    let numbers = prop_oneof![0..1000_u32, Just(u32::MAX), Just(1 << 31), any::<u32>()];
    (numbers, any::<u32>(), proptest::array::uniform6(stamps()), stamps()).prop_map(
        |(generation, flags, [t0, t1, a, w, x, t2], result)| Sample { generation, flags, t0, t1, a, w, x, t2, result },
    )
}

/// The samples of one record.
pub(in crate::records) fn packed() -> impl Strategy<Value = Vec<Packed>> {
    collection::vec(samples(), 0..=BATCH).prop_map(|samples| {
        let mut first = Vec::new();
        in_batches(samples, |round, packed| {
            if round == 0 {
                first = packed.to_vec();
            }
        });
        first
    })
}

proptest! {
    #[test]
    fn samples_come_back_as_they_were(samples in collection::vec(samples(), 0..40)) {
        let mut back = Vec::new();
        in_batches(samples.iter().copied(), |first, packed| {
            assert_eq!(first as usize, back.len());
            assert!((1..=BATCH).contains(&packed.len()));
            back.extend(unpack(packed));
        });
        prop_assert_eq!(back, samples);
    }

    #[test]
    fn whatever_a_log_says_about_samples_is_one_sample_each(generation: i32, flags: u32, stamps: [u64; 6], result: u64) {
        let packed = [Packed { generation, flags, stamps, result }; 2];
        let mut back = Vec::new();
        in_batches(unpack(&packed), |_, packed| back.extend_from_slice(packed));
        prop_assert_eq!(&back[..], packed);
    }

    #[test]
    fn a_packed_sample_is_as_long_as_it_says(samples in packed()) {
        for packed in samples {
            let mut buffer = [0; 128];
            let encoded = postcard::to_slice(&packed, &mut buffer).expect("it is shorter");
            prop_assert_eq!(encoded.len(), packed.encoded_len());
        }
    }
}

/// What a sample takes on the line: a slow one, so that a change that makes it more should be meant.
#[test]
fn a_sample_of_an_ordinary_round_takes_few_bytes() {
    let start = 5_000_000_000_000;
    let target = |round: u32| {
        let t0 = start + u64::from(round) * 60_000;
        let (a, w, x) = (t0 + 3_000, t0 + 4_500, t0 + 4_550);
        Sample { generation: round + 1, a, w, x, result: 3, ..Sample::default() }
    };
    let mut encoded = Vec::new();
    in_batches((0..8).map(target), |_, packed| encoded.extend(packed.iter().map(Packed::encoded_len)));
    assert_eq!(encoded, [16, 12, 12, 12, 12, 12, 12, 12]);
}
