//! Typed identifiers: `sg-…`, `sgr-…`, `pl-…`, `vpc-…`, `pcx-…`, `eni-…` (M-1 to M-4).

use crate::error::Refusal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, hash::Hash, marker::PhantomData, str::FromStr};

/// Digits of an id that is assigned today.
const LONG_DIGITS: usize = 17;
/// Digits of an id of EC2's early years: accepted, never assigned.
const SHORT_DIGITS: usize = 8;

/// What kind of object an [`Id`] names.
pub trait IdKind: Copy + Ord + Hash + Send + Sync + 'static {
    /// What stands before the dash.
    const PREFIX: &'static str;
    /// EC2's code for an id of this kind that cannot be one.
    const MALFORMED: &'static str;
    /// What EC2 calls the id in its messages.
    const NOUN: &'static str;
}

/// Declares a kind of id and the name of its type.
macro_rules! kind {
    ($kind:ident, $id:ident, $doc:literal, $prefix:literal, $malformed:literal, $noun:literal) => {
        #[doc = concat!("Kind of [`", stringify!($id), "`].")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $kind;

        impl IdKind for $kind {
            const PREFIX: &'static str = $prefix;
            const MALFORMED: &'static str = $malformed;
            const NOUN: &'static str = $noun;
        }

        #[doc = $doc]
        pub type $id = Id<$kind>;
    };
}

kind!(GroupKind, GroupId, "Id of a security group.", "sg", "InvalidGroupId.Malformed", "security group ID");
kind!(
    RuleKind,
    RuleId,
    "Id of a security group rule.",
    "sgr",
    "InvalidSecurityGroupRuleId.Malformed",
    "security group rule ID"
);
kind!(VpcKind, VpcId, "Id of a VPC.", "vpc", "InvalidVpcID.Malformed", "vpc ID");
kind!(
    EniKind,
    EniId,
    "Id of a network interface.",
    "eni",
    "InvalidNetworkInterfaceId.Malformed",
    "networkInterface ID"
);
kind!(
    PrefixListKind,
    PrefixListId,
    "Id of a prefix list.",
    "pl",
    "InvalidPrefixListId.Malformed",
    "prefix list ID"
);
kind!(
    PeeringKind,
    PeeringId,
    "Id of a VPC peering connection.",
    "pcx",
    "InvalidVpcPeeringConnectionId.Malformed",
    "vpcPeeringConnection ID"
);

/// An id: prefix, dash, and 17 (or, of old, 8) lower-case hexadecimal digits.
///
/// The digits are held as a number, so that an id is as cheap to copy and compare as an integer. Ids order as their
/// texts do among those of one length; short ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<K> {
    long: bool,
    digits: u128,
    kind: PhantomData<K>,
}

impl<K: IdKind> Id<K> {
    /// A new id, at random: 68 bits make a collision within one store no concern.
    #[must_use]
    pub fn random() -> Self {
        let digits = rand::random::<u128>() >> (128 - 4 * LONG_DIGITS);
        Self { long: true, digits, kind: PhantomData }
    }

    /// The id as a number of its own among those of its kind.
    #[must_use]
    pub fn bits(self) -> u128 {
        u128::from(self.long) << 127 | self.digits
    }

    /// The id with that number.
    #[must_use]
    pub fn from_bits(bits: u128) -> Self {
        Self { long: bits >> 127 != 0, digits: bits & (u128::MAX >> 1), kind: PhantomData }
    }

    /// Whether `text` is meant as an id of this kind: a name may not begin that way (M-10).
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.strip_prefix(K::PREFIX).is_some_and(|rest| rest.starts_with('-'))
    }
}

impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.long { LONG_DIGITS } else { SHORT_DIGITS };
        // Formatted as a whole, so that a width given by the caller pads the id and not its digits.
        f.pad(&format!("{}-{:0width$x}", K::PREFIX, self.digits))
    }
}

impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: IdKind> FromStr for Id<K> {
    type Err = Refusal;

    /// Refuses with the kind's own `….Malformed` (A-67c, A-68b).
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let malformed = || Refusal::new(K::MALFORMED, format!("The {} '{text}' is malformed", K::NOUN));
        let hex =
            text.strip_prefix(K::PREFIX).and_then(|rest| rest.strip_prefix('-')).ok_or_else(malformed)?;
        let all_hex = hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !all_hex || (hex.len() != LONG_DIGITS && hex.len() != SHORT_DIGITS) {
            return Err(malformed());
        }
        let digits = u128::from_str_radix(hex, 16).map_err(|_| malformed())?;
        Ok(Self { long: hex.len() == LONG_DIGITS, digits, kind: PhantomData })
    }
}

impl<K: IdKind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m1_seventeen_digits_are_assigned_and_read_back() {
        for _ in 0..100 {
            let id = GroupId::random();
            let text = id.to_string();
            assert_eq!(text.len(), "sg-".len() + 17);
            assert_eq!(text.parse::<GroupId>().unwrap(), id);
        }
    }

    #[test]
    fn m1_m2_m4_both_lengths_are_accepted() {
        assert_eq!("sg-51530134".parse::<GroupId>().unwrap().to_string(), "sg-51530134");
        assert_eq!("sgr-00000000000000001".parse::<RuleId>().unwrap().to_string(), "sgr-00000000000000001");
        assert_eq!("vpc-0000000a".parse::<VpcId>().unwrap().to_string(), "vpc-0000000a");
        assert_ne!("eni-00000001".parse::<EniId>().unwrap(), "eni-00000000000000001".parse().unwrap());
    }

    #[test]
    fn a67c_a_malformed_group_id_is_refused_by_name() {
        for text in
            ["sg-", "sg-5153013", "sg-515301345", "sg-5153013X", "sg-ABCDEF01", "sgr-51530134", "51530134"]
        {
            let refusal = text.parse::<GroupId>().unwrap_err();
            assert_eq!(refusal.code, "InvalidGroupId.Malformed");
            assert_eq!(refusal.message, format!("The security group ID '{text}' is malformed"));
        }
    }

    #[test]
    fn a68b_each_kind_has_its_own_code() {
        assert_eq!("sgr-x".parse::<RuleId>().unwrap_err().code, "InvalidSecurityGroupRuleId.Malformed");
        assert_eq!("vpc-x".parse::<VpcId>().unwrap_err().code, "InvalidVpcID.Malformed");
        assert_eq!("eni-x".parse::<EniId>().unwrap_err().code, "InvalidNetworkInterfaceId.Malformed");
    }

    #[test]
    fn ids_order_and_serialise_as_their_text() {
        let (low, high): (VpcId, VpcId) = ("vpc-00000001".parse().unwrap(), "vpc-00000002".parse().unwrap());
        assert!(low < high);
        assert_eq!(serde_json::to_string(&low).unwrap(), r#""vpc-00000001""#);
        assert_eq!(serde_json::from_str::<VpcId>(r#""vpc-00000002""#).unwrap(), high);
        assert!(serde_json::from_str::<VpcId>(r#""vpc-2""#).is_err());
        assert_eq!(format!("{low:>14}|"), "  vpc-00000001|");
    }
}
