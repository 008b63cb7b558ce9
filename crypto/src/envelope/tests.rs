use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::reader::{Target, TargetFinder};
use super::*;

const LIMIT: usize = 1 << 16;

fn rng() -> StdRng {
    StdRng::seed_from_u64(3)
}

fn context() -> Context {
    Context::new(labels::ENVELOPE_PROFILE, Role::Querier, &7u32)
}

fn secret(suite: Suite) -> EnvelopeSecretKey {
    EnvelopeSecretKey::generate(suite, &mut rng())
}

fn other_contexts() -> [Context; 3] {
    [
        Context::new(labels::ENVELOPE_GROUP, Role::Querier, &7u32),
        Context::new(labels::ENVELOPE_PROFILE, Role::Conductor, &7u32),
        Context::new(labels::ENVELOPE_PROFILE, Role::Querier, &8u32),
    ]
}

#[test]
fn what_is_sealed_opens_and_is_the_same_for_the_same_seed() {
    for suite in [Suite::XWing, Suite::X25519] {
        let key = secret(suite);
        let value = String::from("city>lyon");
        let seal =
            || Sealed::<TargetFinder, String>::seal(&value, &key.public(), &context(), &mut rng());
        assert_eq!(seal().open(&key, &context(), LIMIT), Ok(value.clone()));
        assert_eq!(seal(), seal());
        let mut moving = rng();
        let two: [Sealed<TargetFinder, String>; 2] =
            std::array::from_fn(|_| Sealed::seal(&value, &key.public(), &context(), &mut moving));
        assert_ne!(two[0], two[1]);
        assert_eq!(
            seal().len(),
            suite.encapsulation_length() + encoding::to_bytes(&value).len() + TAG_LENGTH
        );
        assert!(!format!("{:?}", seal()).contains("lyon"));
    }
}

#[test]
fn another_purpose_sender_binding_reader_key_or_suite_does_not_open() {
    for suite in [Suite::XWing, Suite::X25519] {
        let key = secret(suite);
        let sealed: Sealed<TargetFinder, u32> =
            Sealed::seal(&5, &key.public(), &context(), &mut rng());
        for other in other_contexts() {
            assert_eq!(sealed.open(&key, &other, LIMIT), Err(OpenError));
        }
        let bytes = encoding::to_bytes(&sealed);
        let moved: Sealed<Target, u32> = encoding::from_bytes(&bytes, LIMIT, "sealed").unwrap();
        assert_eq!(moved.open(&key, &context(), LIMIT), Err(OpenError));
        let stranger = EnvelopeSecretKey::from_bytes(suite, &[9; 32]).unwrap();
        assert_eq!(sealed.open(&stranger, &context(), LIMIT), Err(OpenError));
    }
    let sealed: Sealed<TargetFinder, u32> =
        Sealed::seal(&5, &secret(Suite::XWing).public(), &context(), &mut rng());
    assert_eq!(
        sealed.open(&secret(Suite::X25519), &context(), LIMIT),
        Err(OpenError)
    );
}

#[test]
fn an_envelope_over_the_limit_or_of_another_type_does_not_open() {
    let key = secret(Suite::X25519);
    let sealed: Sealed<Target, Vec<u8>> =
        Sealed::seal_bytes(vec![1; 100], &key.public(), &context(), &mut rng());
    assert_eq!(
        *sealed.clone().open_bytes(&key, &context()).unwrap(),
        vec![1; 100]
    );
    assert_eq!(sealed.open(&key, &context(), 99), Err(OpenError));
    assert_eq!(sealed.open(&key, &context(), LIMIT), Err(OpenError));
}

#[test]
fn bytes_that_are_no_envelope_do_not_open() {
    let key = secret(Suite::XWing);
    for (encapsulated, ciphertext) in [(0, 0), (1120, 0), (1120, 15), (1120, 16), (1119, 40)] {
        let bytes = encoding::to_bytes(&(vec![1u8; encapsulated], vec![2u8; ciphertext]));
        let sealed: Sealed<Target, u8> = encoding::from_bytes(&bytes, LIMIT, "sealed").unwrap();
        assert_eq!(sealed.open(&key, &context(), LIMIT), Err(OpenError));
        assert!(
            encoding::from_bytes::<Sealed<Target, u8>>(&bytes[..bytes.len() - 1], LIMIT, "sealed")
                .is_err()
        );
    }
    let low_order = encoding::to_bytes(&(vec![0u8; 32], vec![2u8; 32]));
    let sealed: Sealed<Target, u8> = encoding::from_bytes(&low_order, LIMIT, "sealed").unwrap();
    assert_eq!(
        sealed.open(&secret(Suite::X25519), &context(), LIMIT),
        Err(OpenError)
    );
}

#[test]
fn batch_items_open_in_any_order_and_are_sealed_once() {
    for suite in [Suite::XWing, Suite::X25519] {
        let key = secret(suite);
        let mut sealer =
            BatchSealer::<TargetFinder>::new(&key.public(), &context(), 70, &mut rng());
        let last = sealer.seal(69, b"pseudonym", b"last").unwrap();
        let first = sealer.seal(0, b"pseudonym", b"first").unwrap();
        for index in [69, 0, 70, u32::MAX] {
            assert_eq!(
                sealer.seal(index, b"", b""),
                Err(IndexError { index, count: 70 })
            );
        }
        let opener =
            BatchOpener::<TargetFinder>::new(&key, sealer.encapsulated(), &context(), 70).unwrap();
        assert_eq!(*opener.open(0, b"pseudonym", &first).unwrap(), b"first");
        assert_eq!(*opener.open(69, b"pseudonym", &last).unwrap(), b"last");
    }
}

#[test]
fn a_moved_batch_item_does_not_open() {
    let key = secret(Suite::X25519);
    let mut sealer = BatchSealer::<TargetFinder>::new(&key.public(), &context(), 3, &mut rng());
    let item = sealer.seal(1, b"pseudonym", b"entry").unwrap();
    let encapsulated = sealer.encapsulated();
    let opener = |context: &Context, count| {
        BatchOpener::<TargetFinder>::new(&key, encapsulated, context, count).unwrap()
    };
    let right = opener(&context(), 3);
    assert!(right.open(1, b"pseudonym", &item).is_ok());
    assert!(right.open(2, b"pseudonym", &item).is_err());
    assert!(right.open(1, b"another", &item).is_err());
    assert!(opener(&context(), 4).open(1, b"pseudonym", &item).is_err());
    for other in other_contexts() {
        assert!(opener(&other, 3).open(1, b"pseudonym", &item).is_err());
    }
    let reader = BatchOpener::<Target>::new(&key, encapsulated, &context(), 3).unwrap();
    assert!(reader.open(1, b"pseudonym", &item).is_err());
    assert!(
        BatchOpener::<Target>::new(&key, &encapsulated[1..], &context(), 3).is_err(),
        "a short encapsulation is none"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_flipped_bit_fails_to_open(
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        suite in prop_oneof![Just(Suite::XWing), Just(Suite::X25519)],
        place in any::<proptest::sample::Index>(),
        bit in 0..8u8,
    ) {
        // Every case draws the same randomness, so the keys and nonces of the case before repeat.
        crate::aead::record::forget();
        let key = secret(suite);
        let mut sealed: Sealed<TargetFinder, Vec<u8>> =
            Sealed::seal(&payload, &key.public(), &context(), &mut rng());
        prop_assert_eq!(sealed.open(&key, &context(), LIMIT), Ok(payload.clone()));
        let place_in_envelope = place.index(sealed.len());
        match place_in_envelope.checked_sub(sealed.encapsulated.len()) {
            None => sealed.encapsulated[place_in_envelope] ^= 1 << bit,
            Some(place) => sealed.ciphertext[place] ^= 1 << bit,
        }
        // RFC 7748 ignores the last bit of an X25519 point. That bit is still covered, since the key schedule
        // hashes the bytes as they were received.
        prop_assert_eq!(sealed.open(&key, &context(), LIMIT), Err(OpenError));

        let mut sealer = BatchSealer::<Target>::new(&key.public(), &context(), 1, &mut rng());
        let mut item = sealer.seal(0, b"", &payload).unwrap();
        let opener =
            BatchOpener::<Target>::new(&key, sealer.encapsulated(), &context(), 1).unwrap();
        let at = place.index(item.len());
        item[at] ^= 1 << bit;
        prop_assert_eq!(opener.open(0, b"", &item).err(), Some(OpenError));
    }
}

/// Compares exported keys with RFC 9180, appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305,
/// base mode. The vectors' messages have associated data, which envelopes do not use; the exported keys cover
/// encapsulation and key schedule.
#[test]
fn exported_keys_are_those_of_the_rfc() {
    let hex = |text: &str| hex::decode(text).unwrap();
    let secret = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let public = hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
    let encapsulated = hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let key = EnvelopeSecretKey::from_bytes(Suite::X25519, &secret).unwrap();
    assert_eq!(key.public().as_bytes(), public);
    let exports = [
        (
            "",
            "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e",
        ),
        (
            "\0",
            "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69",
        ),
        (
            "TestContext",
            "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53",
        ),
    ];
    for (context, expected) in exports {
        let opening = Opening::new(&key, &encapsulated, &info).unwrap();
        assert_eq!(opening.export(context)[..], hex(expected));
    }
}
