//! The reading half of the codec: a decoder of fixed-width, little-endian bytes that believes no
//! length. It owns its place in the input and the account of memory; it takes no memory itself but
//! for texts and bytes that are there, and never more at once than its account allows.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::CodecError;

/// Slots of a leaf of a sorted map, which is made whole for its first key.
const LEAF: usize = 11;
/// What such a leaf takes besides keys and values, bytes.
const LEAF_EXTRA: usize = 16;
/// Keys that come in order leave leaves more than half full; the nodes above them are in this, too.
const LEAF_WASTE: usize = 2;

/// Bytes that are read from the front.
pub(super) struct Reader<'a> {
    left: &'a [u8],
    memory_max: usize,
    /// Memory that the value takes so far, at most.
    memory: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8], memory_max: usize) -> Self {
        Self {
            left: bytes,
            memory_max,
            memory: 0,
        }
    }

    /// How many bytes are not read yet.
    pub(super) const fn left(&self) -> usize {
        self.left.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, left) = self.left.split_at_checked(count).ok_or_else(ended)?;
        self.left = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, left) = self.left.split_first_chunk().ok_or_else(ended)?;
        self.left = left;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A length; whatever has it takes a byte for each at least.
    fn length(&mut self) -> Result<usize, CodecError> {
        let length = u64::from_le_bytes(self.array()?);
        match usize::try_from(length) {
            Ok(length) if length <= self.left.len() => Ok(length),
            _ => Err(ended()),
        }
    }

    fn counted(&mut self) -> Result<&'a [u8], CodecError> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        self.charge(length)?;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, CodecError> {
        let bytes = self.counted()?;
        std::str::from_utf8(bytes).map_err(|_| malformed("a text is not UTF-8"))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), CodecError> {
        let memory = self.memory.saturating_add(bytes);
        if memory > self.memory_max {
            return Err(CodecError::TooDense {
                max: self.memory_max,
            });
        }
        self.memory = memory;
        Ok(())
    }
}

fn ended() -> CodecError {
    malformed("it ends too early")
}

fn malformed(reason: &str) -> CodecError {
    CodecError::Malformed {
        reason: reason.to_owned(),
    }
}

impl Error for CodecError {
    fn custom<T: std::fmt::Display>(words: T) -> Self {
        Self::Malformed {
            reason: words.to_string(),
        }
    }
}

/// Types that say nothing of their own form have no encoding here.
fn unnamed<T>() -> Result<T, CodecError> {
    Err(malformed("its type has no fixed form"))
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
            visitor.$visit(<$number>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = CodecError;

    numbers! {
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(malformed("a flag is neither 0 nor 1")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(malformed("what may be absent is neither there nor not")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_borrowed_bytes(self.counted()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let left = self.length()?;
        visitor.visit_seq(List {
            elements: Fields { reader: self, left },
            count: 0,
            room: 0,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_seq(Fields { reader: self, left })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(left, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let left = self.length()?;
        visitor.visit_map(Pairs {
            keys: Fields { reader: self, left },
            waste: LEAF,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_enum(self)
    }

    fn deserialize_char<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        unnamed()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        unnamed()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        unnamed()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
        unnamed()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = CodecError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), CodecError> {
        let number = u32::from_le_bytes(self.array()?);
        let number = IntoDeserializer::<CodecError>::into_deserializer(number);
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = CodecError;

    fn unit_variant(self) -> Result<(), CodecError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, CodecError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(left, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

/// Fields of a known number, which lie where their owner lies.
struct Fields<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_, 'de> {
    type Error = CodecError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, CodecError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A list whose length was read. Its taker is told no length: it makes room as elements arrive, as
/// this account supposes, by doubling.
struct List<'r, 'de> {
    elements: Fields<'r, 'de>,
    count: usize,
    room: usize,
}

impl<'de> SeqAccess<'de> for List<'_, 'de> {
    type Error = CodecError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, CodecError> {
        if self.elements.left > 0 {
            if self.count == self.room {
                let each = size_of::<S::Value>();
                let first = if each == 1 { 8 } else { 4 };
                let room = (self.room * 2).max(first);
                let more = (room - self.room).saturating_mul(each);
                self.elements.reader.charge(more)?;
                self.room = room;
            }
            self.count += 1;
        }
        self.elements.next_element_seed(seed)
    }
}

/// A map whose length was read.
struct Pairs<'r, 'de> {
    keys: Fields<'r, 'de>,
    /// What the next key and value take, in times of their size.
    waste: usize,
}

impl<'de> MapAccess<'de> for Pairs<'_, 'de> {
    type Error = CodecError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, CodecError> {
        if self.keys.left > 0 {
            let bytes = size_of::<S::Value>() * self.waste + LEAF_EXTRA;
            self.keys.reader.charge(bytes)?;
        }
        self.keys.next_element_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, CodecError> {
        let bytes = size_of::<S::Value>() * self.waste;
        self.keys.reader.charge(bytes)?;
        self.waste = LEAF_WASTE;
        seed.deserialize(&mut *self.keys.reader)
    }
}
