#include "gguf/forms.h"

#include <algorithm>

#include "gguf/grids.h"

namespace lq::cpu::gguf {
namespace {

constexpr float kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr float kFp4Levels[15] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};

}  // namespace

const ScalarForm* scalar_form(BlockType type) {
  constexpr ScaleCode half = ScaleCode::half, integer = ScaleCode::integer, power = ScaleCode::power;
  static const ScalarForm q4_0{32, 32, false, -8, 7, nullptr, half, 0, 0, 0, false};
  static const ScalarForm q4_1{32, 32, true, 0, 15, nullptr, half, 0, 0, 0, true};
  static const ScalarForm q5_0{32, 32, false, -16, 15, nullptr, half, 0, 0, 0, false};
  static const ScalarForm q5_1{32, 32, true, 0, 31, nullptr, half, 0, 0, 0, true};
  static const ScalarForm q8_0{32, 32, false, -128, 127, nullptr, half, 0, 0, 0, false};
  static const ScalarForm q2_k{16, 256, true, 0, 3, nullptr, integer, 0, 15, 15, false};
  static const ScalarForm q3_k{16, 256, false, -4, 3, nullptr, integer, -32, 31, 0, false};
  static const ScalarForm q4_k{32, 256, true, 0, 15, nullptr, integer, 0, 63, 63, false};
  static const ScalarForm q5_k{32, 256, true, 0, 31, nullptr, integer, 0, 63, 63, false};
  static const ScalarForm q6_k{16, 256, false, -32, 31, nullptr, integer, -128, 127, 0, false};
  static const ScalarForm iq4_nl{32, 32, false, 0, 15, kIq4Levels, half, 0, 0, 0, false};
  static const ScalarForm iq4_xs{32, 256, false, 0, 15, kIq4Levels, integer, -32, 31, 0, false};
  static const ScalarForm mxfp4{32, 32, false, 0, 14, kFp4Levels, power, 0, 0, 0, false};
  switch (type) {
    case BlockType::Q4_0:
      return &q4_0;
    case BlockType::Q4_1:
      return &q4_1;
    case BlockType::Q5_0:
      return &q5_0;
    case BlockType::Q5_1:
      return &q5_1;
    case BlockType::Q8_0:
      return &q8_0;
    case BlockType::Q2_K:
      return &q2_k;
    case BlockType::Q3_K:
      return &q3_k;
    case BlockType::Q4_K:
      return &q4_k;
    case BlockType::Q5_K:
      return &q5_k;
    case BlockType::Q6_K:
      return &q6_k;
    case BlockType::IQ4_NL:
      return &iq4_nl;
    case BlockType::IQ4_XS:
      return &iq4_xs;
    case BlockType::MXFP4:
      return &mxfp4;
    default:
      return nullptr;
  }
}

namespace {

GridForm make_grid_form(const uint16_t* rows, int32_t count, int32_t dims, const uint8_t* magnitudes, int32_t sub,
                        bool even, float offset, float step, float unit) {
  GridForm form{{dims, count, nullptr}, sub, even, unit, offset, step, 0, {}};
  const int width = dims == 8 ? 2 : 3;
  form.magnitudes.resize(static_cast<size_t>(dims) * static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < dims; ++j) {
      const float m = magnitudes[(rows[i] >> (width * j)) & ((1 << width) - 1)];
      form.magnitudes[static_cast<size_t>(j * count + i)] = m;
      form.largest = std::max(form.largest, m);
    }
  }
  form.view.magnitude = form.magnitudes.data();
  return form;
}

}  // namespace

const GridForm* grid_form(BlockType type) {
  static const GridForm iq2_xxs = make_grid_form(kIq2XxsGrid, 256, 8, kIq2Magnitudes, 32, true, 0.5f, 1, 0.25f);
  static const GridForm iq2_xs = make_grid_form(kIq2XsGrid, 512, 8, kIq2Magnitudes, 16, true, 0.5f, 1, 0.25f);
  static const GridForm iq2_s = make_grid_form(kIq2SGrid, 1024, 8, kIq2Magnitudes, 16, false, 0.5f, 1, 0.25f);
  static const GridForm iq3_xxs = make_grid_form(kIq3XxsGrid, 256, 4, kIq3XxsMagnitudes, 32, true, 0.5f, 1, 0.5f);
  static const GridForm iq3_s = make_grid_form(kIq3SGrid, 512, 4, kIq3SMagnitudes, 32, false, 1, 2, 1);
  switch (type) {
    case BlockType::IQ2_XXS:
      return &iq2_xxs;
    case BlockType::IQ2_XS:
      return &iq2_xs;
    case BlockType::IQ2_S:
      return &iq2_s;
    case BlockType::IQ3_XXS:
      return &iq3_xxs;
    case BlockType::IQ3_S:
      return &iq3_s;
    default:
      return nullptr;
  }
}

}  // namespace lq::cpu::gguf
