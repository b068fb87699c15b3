# Not run by a test: there is no Ruby where the tests run.
#
# Rails: app/services/sluicegate.rb, and how a model uses it.

require "net/http"
require "securerandom"

class Sluicegate
  CONTROL = URI(ENV.fetch("SLUICEGATE_CONTROL", "http://127.0.0.1:8081"))

  # Publishes an event, and repeats that until there is an answer: with its key the event counts once.
  def self.publish(topic, data, attempts: 5)
    path = "/events/#{topic.split('/').map { |part| ERB::Util.url_encode(part) }.join('/')}"
    request = Net::HTTP::Post.new(path, "Idempotency-Key" => SecureRandom.uuid)
    request.body = data
    (1..attempts).each do |attempt|
      begin
        response = Net::HTTP.start(CONTROL.host, CONTROL.port, open_timeout: 2, read_timeout: 10) { |http| http.request(request) }
        return JSON.parse(response.body)["id"] if response.is_a?(Net::HTTPOK)
        raise ArgumentError, JSON.parse(response.body)["detail"] unless response.code == "503" && attempt < attempts
      rescue SystemCallError, Timeout::Error, EOFError
        raise if attempt == attempts
      end
      sleep 0.2 * 2**attempt
    end
  end
end

class Order < ApplicationRecord
  # After the commit, so that nobody hears of what was rolled back.
  after_update_commit { Sluicegate.publish("orders/#{id}", { state: state }.to_json) }
end
