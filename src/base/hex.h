/* SPDX-License-Identifier: BSD-3-Clause */
/* Bytes as lower-case hexadecimal digits. */
#ifndef STASIS_BASE_HEX_H
#define STASIS_BASE_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Value of a digit; -1: it is none. */
int hex_digit(char c);

/* 2 × `len` digits and a NUL. */
void hex_encode(const uint8_t *bytes, size_t len, char *ret_text);

/* The first 2 × `len` characters of `text`; false when one of them is no digit. */
bool hex_decode(const char *text, uint8_t *ret_bytes, size_t len);

#endif
