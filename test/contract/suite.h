// Checks of one backend, counted and printed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lq/backend.h"

namespace lq::contract {

class Suite {
 public:
  explicit Suite(Backend& backend) : backend(backend) {}

  Backend& backend;

  // Counts one check; a failure is printed with its detail.
  void check(const std::string& name, bool passed, const std::string& detail = {});
  // `value` is at most `limit`; a NaN is not.
  void at_most(const std::string& name, double value, double limit);
  // The call ended with this code.
  void code(const std::string& name, const Status& status, StatusCode expected);

  int64_t passed() const { return passed_; }
  int64_t failed() const { return failed_; }

 private:
  int64_t passed_ = 0, failed_ = 0;
};

constexpr Control kNoControl{nullptr, nullptr, nullptr};

// Deterministic test matrices. Gaussian entries with a decaying spectrum on top, or special ones.
std::vector<float> gaussian(int64_t count, uint64_t seed, double scale = 0.05);
std::vector<float> decaying(int64_t rows, int64_t cols, uint64_t seed);

// The NormalFloat book of 2, 3, 4 or 8 bits (method: quantiles of a normal distribution).
CodeBook normal_float(int32_t bits);

std::string shape_name(int64_t rows, int64_t cols);

void check_quantization(Suite& suite);
void check_factorization(Suite& suite);
void check_decomposition(Suite& suite);
void check_inspection(Suite& suite);
void check_packed_product(Suite& suite);
// Products of bf16 terms on the CPU, with all instructions for them that it has.
void check_bf16_products(Suite& suite);
// On an accelerator, what it does not encode is expected to be refused.
void check_encoding(Suite& suite);

}  // namespace lq::contract
