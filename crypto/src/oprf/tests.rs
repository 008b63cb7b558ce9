use rand::rngs::StdRng;
use rand::{SeedableRng, TryCryptoRng, TryRng};

use super::*;
use crate::dealing::{
    Dealing, deal,
    testing::{dealt, recombined, subsets},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::Threshold,
};

/// Generator that yields the scalars of a test vector. `Scalar::random` reads 64 bytes and reduces them.
struct Scalars(Vec<&'static str>);

impl TryRng for Scalars {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        unreachable!("scalars are drawn as bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        unreachable!("scalars are drawn as bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        assert_eq!(out.len(), 64);
        out.fill(0);
        hex::decode_to_slice(self.0.remove(0), &mut out[..32]).unwrap();
        Ok(())
    }
}

impl TryCryptoRng for Scalars {}

/// Test vector of RFC 9497, appendix A.1.2: ristretto255-SHA512, VOPRF mode.
struct Vector {
    inputs: &'static [&'static str],
    blinds: &'static [&'static str],
    blinded: &'static [&'static str],
    evaluated: &'static [&'static str],
    nonce: &'static str,
    proof: &'static str,
    outputs: &'static [&'static str],
}

const SECRET: &str = "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909";
const PUBLIC: &str = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e";
const BLIND: &str = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706";
const SECOND: &str = "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e";
const OUTPUT_1: &str = "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d\
                        a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c";
const OUTPUT_2: &str = "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60\
                        356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6";

const VECTORS: [Vector; 3] = [
    Vector {
        inputs: &["00"],
        blinds: &[BLIND],
        blinded: &["863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"],
        evaluated: &["aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"],
        nonce: SECOND,
        proof: "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06\
                6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
        outputs: &[OUTPUT_1],
    },
    Vector {
        inputs: &["5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"],
        blinds: &[BLIND],
        blinded: &["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
        evaluated: &["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
        nonce: SECOND,
        proof: "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a\
                67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
        outputs: &[OUTPUT_2],
    },
    Vector {
        inputs: &["00", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"],
        blinds: &[BLIND, SECOND],
        blinded: &[
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ],
        evaluated: &[
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ],
        nonce: "419c4f4f5052c53c45f3da494d2b67b220d02118e0857cdbcf037f9ea84bbe0c",
        proof: "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a\
                5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
        outputs: &[OUTPUT_1, OUTPUT_2],
    },
];

fn hexed(points: impl IntoIterator<Item = Point>) -> Vec<String> {
    points
        .into_iter()
        .map(|point| hex::encode(point.as_bytes()))
        .collect()
}

#[test]
fn one_member_of_one_computes_the_rfc_vectors() {
    let one = MemberNumber::new(1).unwrap();
    let mut stored = vec![1];
    stored.extend(hex::decode(SECRET).unwrap());
    let share = KeyShare::from_bytes(&stored).unwrap();
    assert_eq!(hexed([*share.public()]), [PUBLIC]);
    let key = ThresholdKey::new(
        Threshold::new(1, 1).unwrap(),
        *share.public(),
        vec![*share.public()],
    )
    .unwrap();

    for vector in VECTORS {
        let mut blinds = Scalars(vector.blinds.to_vec());
        let (blindings, blinded): (Vec<_>, Vec<_>) = vector
            .inputs
            .iter()
            .map(|input| blind(&hex::decode(input).unwrap(), &mut blinds).unwrap())
            .unzip();
        assert_eq!(hexed(blinded.iter().map(|b| b.0)), vector.blinded);

        let evaluation = evaluate(&share, &blinded, &mut Scalars(vec![vector.nonce])).unwrap();
        assert_eq!(hexed(evaluation.elements.iter().copied()), vector.evaluated);
        assert_eq!(hex::encode(&to_bytes(&evaluation.proof)[1..]), vector.proof);

        for ((blinding, element), expected) in blindings
            .iter()
            .zip(&evaluation.elements)
            .zip(vector.outputs)
        {
            let unblinded = element.inner() * blinding.blind.invert();
            assert_eq!(hex::encode(output(&blinding.input, &unblinded)), *expected);
        }
        let pseudonyms = finalize(&key, blindings, &[(one, evaluation)]).unwrap();
        for (pseudonym, expected) in pseudonyms.iter().zip(vector.outputs) {
            assert_eq!(hex::encode(pseudonym.0), expected[..64]);
        }
    }
}

const INPUTS: [&[u8]; 3] = [b"home>all", b"city>lyon", b"asthma>1"];

fn rng() -> StdRng {
    StdRng::seed_from_u64(11)
}

fn blinded(rng: &mut StdRng) -> (Vec<Blinding>, Vec<Blinded>) {
    INPUTS
        .iter()
        .map(|input| blind(input, rng).unwrap())
        .unzip()
}

fn answers(dealing: &Dealing, blinded: &[Blinded]) -> Vec<(MemberNumber, Evaluation)> {
    dealing
        .secrets
        .iter()
        .map(|share| {
            let evaluation = evaluate(share, blinded, &mut rng()).unwrap();
            (share.number(), evaluation)
        })
        .collect()
}

#[test]
fn any_needed_members_give_the_pseudonyms_of_the_whole_key() {
    let dealing = dealt(3, 5);
    let one = MemberNumber::new(1).unwrap();
    let whole = KeyShare::new(one, recombined(&dealing, &[0, 2, 4])).unwrap();
    let alone = ThresholdKey::new(
        Threshold::new(1, 1).unwrap(),
        *whole.public(),
        vec![*whole.public()],
    )
    .unwrap();
    let mut rng = rng();
    let (blindings, asked) = blinded(&mut rng);
    let answer = evaluate(&whole, &asked, &mut rng).unwrap();
    let expected = finalize(&alone, blindings, &[(one, answer)]).unwrap();
    assert!(expected[0] != expected[1] && expected[1] != expected[2]);

    for subset in subsets(5, 3) {
        // Every quorum gets fresh blinds, since the pseudonym must not depend on them.
        let (blindings, asked) = blinded(&mut rng);
        let all = answers(&dealing, &asked);
        let some: Vec<_> = subset.iter().map(|&i| all[i].clone()).collect();
        assert_eq!(
            finalize(&dealing.public, blindings, &some),
            Ok(expected.clone())
        );
    }
    let (blindings, asked) = blinded(&mut rng);
    let all = answers(&dealing, &asked);
    assert_eq!(
        finalize(&dealing.public, blindings, &all),
        Ok(expected.clone())
    );
}

#[test]
fn a_wrong_evaluation_names_its_member() {
    let dealing = dealt(2, 3);
    let other = deal(dealing.public.threshold(), &mut rng());
    let asked = blinded(&mut rng()).1;
    let right = answers(&dealing, &asked);
    let member = right[1].0;

    let mut one_element = right.clone();
    one_element[1].1.elements[2] = right[0].1.elements[2];
    let mut swapped = right.clone();
    swapped[1].1.elements.swap(0, 1);
    let mut short = right.clone();
    short[1].1.elements.pop();
    let mut of_another_member = right.clone();
    of_another_member[1].1 = right[2].1.clone();
    let mut of_another_key = right.clone();
    of_another_key[1].1 = answers(&other, &asked)[1].1.clone();
    let mut of_another_question = right.clone();
    of_another_question[1].1 = answers(&dealing, &blinded(&mut StdRng::seed_from_u64(12)).1)[1]
        .1
        .clone();
    for given in [
        one_element,
        swapped,
        short,
        of_another_member,
        of_another_key,
        of_another_question,
    ] {
        let blindings = blinded(&mut rng()).0;
        assert_eq!(
            finalize(&dealing.public, blindings, &given),
            Err(OprfError::WrongEvaluation { member })
        );
    }
}

#[test]
fn the_identity_is_refused_wherever_a_point_is_received() {
    assert!(from_bytes::<Blinded>(&to_bytes(&[0u8; 32]), 33, "blinded").is_err());
    let dealing = dealt(1, 1);
    let mut bytes = to_bytes(&answers(&dealing, &blinded(&mut rng()).1)[0].1);
    assert!(from_bytes::<Evaluation>(&bytes, 500, "evaluation").is_ok());
    bytes[5..37].fill(0);
    assert!(from_bytes::<Evaluation>(&bytes, 500, "evaluation").is_err());
}

#[test]
fn batches_and_inputs_out_of_bounds_are_refused() {
    let dealing = dealt(2, 3);
    let share = &dealing.secrets[0];
    let (blindings, asked) = blinded(&mut rng());
    assert_eq!(evaluate(share, &[], &mut rng()), Err(OprfError::BatchSize));
    assert_eq!(
        evaluate(share, &vec![asked[0]; MAX_BATCH + 1], &mut rng()),
        Err(OprfError::BatchSize)
    );
    assert_eq!(
        finalize(&dealing.public, vec![], &[]),
        Err(OprfError::BatchSize)
    );
    assert_eq!(
        blind(&vec![0; 65_536], &mut rng()).err(),
        Some(OprfError::Input)
    );
    let answers = answers(&dealing, &asked);
    assert_eq!(
        finalize(&dealing.public, blindings, &answers[..1]),
        Err(OprfError::Quorum(QuorumError::TooFew {
            needed: 2,
            answered: 1
        }))
    );
}

#[test]
fn printing_shows_neither_input_nor_pseudonym() {
    let (blinding, _) = blind(b"city>lyon", &mut rng()).unwrap();
    assert_eq!(format!("{blinding:?}"), "Blinding");
    assert_eq!(format!("{:?}", Pseudonym([7; 32])), "Pseudonym");
}
