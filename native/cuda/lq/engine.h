// The LQ iteration of many options of one matrix at once.
//
// A slot is room for one option at work. All live slots go through an iteration together: factorise the residual (one step
// of subspace iteration from the last one), absmax of W - L1 L2, scales, codes and the error. A slot whose option stops is
// given the next one. Options that differ only in the type of the group maxima form a chain: the later ones start from the
// factors of the best iterate of the one before and need few iterations.
#pragma once

#include <functional>
#include <vector>

#include "lq/problem.h"

namespace lq::cuda {

class Engine {
 public:
  // All options have the same rank. Throws device_memory when not even one slot fits.
  Engine(const Stream& stream, const DeviceProblem& matrix, const LqProblem& problem, const std::vector<SweepOption>& options);

  // Costs of every option into out[i]; `finished` is called as options finish, with how many have.
  void sweep(std::vector<SweepCost>* out, const Watch& watch, const std::function<void(int)>& finished);

  // The first option alone, with everything of its best iterate.
  void decompose(LqResult* out, const Watch& watch);

 private:
  struct Chain {
    std::vector<int> options;
    size_t next = 0;
  };
  enum class Start { nothing, first_factors, best_factors };

  void allocate(int wanted_slots);
  void assign(int slot, int option, Start start, int max_iterations);
  // One iteration of the live slots; rank 0 leaves the factors out.
  void iterate(const LiveSlots& live, bool low_rank);
  void read_states(SlotState* target) const;
  void quantized_costs(std::vector<SweepCost>* out, const Watch& watch);
  std::vector<Chain> chains() const;
  void download_factors(const LqResult& out) const;

  const Stream& stream_;
  const DeviceProblem& matrix_;
  const LqProblem& problem_;
  const std::vector<SweepOption>& options_;
  int rank_;
  int factorization_steps_;
  int slots_ = 0;
  bool any_unaligned_ = false;
  int64_t max_blocks_ = 0, max_groups_ = 0;
  std::vector<int> book_of_;
  Workspace ws_{};
  DeviceProblem::Factors first_{};
  DeviceBuffer<__half> residual_, u_, z_, best_u_, best_z_;
  DeviceBuffer<float> y_sums_, z_sums_, gram_, whitening_, scales_;
  DeviceBuffer<uint32_t> minimum_;
  DeviceBuffer<double> errors_;
  DeviceBuffer<DeviceBook> books_;
  DeviceBuffer<SlotOption> slot_options_;
  DeviceBuffer<SlotState> states_;
  DeviceBuffer<ScaleSlot> scale_slots_;
  int64_t y_capacity_ = 0, z_capacity_ = 0;  // in units of one part
  int multiprocessors_ = 1;
};

}  // namespace lq::cuda
